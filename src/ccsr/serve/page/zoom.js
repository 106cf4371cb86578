// Where a picture lies in its frame: fitted, enlarged about a point, moved. Knows no elements.

const MOST = 16;               // screen pixels for one of the result

export class Zoom {
  constructor() {
    this.picture = { width: 1, height: 1 };   // pixels of the result
    this.place = { width: 1, height: 1 };     // room for the frame
    this.reset();
  }

  reset() {
    this.factor = 1;                          // by the fitted size
    this.center = { x: 0.5, y: 0.5 };         // point of the picture in the middle of the frame
  }

  get fitted() {
    const width = Math.min(this.place.width, (this.place.height * this.picture.width) / this.picture.height);
    return { width, height: (width * this.picture.height) / this.picture.width };
  }

  get image() { return { width: this.fitted.width * this.factor, height: this.fitted.height * this.factor }; }
  get frame() {
    return { width: Math.min(this.place.width, this.image.width), height: Math.min(this.place.height, this.image.height) };
  }
  get offset() {
    return { x: this.frame.width / 2 - this.center.x * this.image.width, y: this.frame.height / 2 - this.center.y * this.image.height };
  }
  get isFitted() { return Math.abs(this.factor - 1) < 0.001; }
  get isLarger() { return this.factor > 1.001; }
  // A small result may be shown smaller than fitted, pixel by pixel.
  get least() { return Math.min(1, this.factor / this.ratio); }

  // Screen pixels that one pixel of the result takes.
  get ratio() { return (this.image.width * (globalThis.devicePixelRatio || 1)) / this.picture.width; }

  // Enlarges so that the point of the picture under (x, y), in 0..1 of the frame, stays there.
  to(factor, x = 0.5, y = 0.5) {
    const before = { frame: this.frame, image: this.image };
    const held = {
      x: this.center.x + ((x - 0.5) * before.frame.width) / before.image.width,
      y: this.center.y + ((y - 0.5) * before.frame.height) / before.image.height,
    };
    const most = Math.max(1, (this.factor * MOST) / this.ratio);
    this.factor = Math.min(most, Math.max(this.least, factor));
    this.center = {
      x: held.x - ((x - 0.5) * this.frame.width) / this.image.width,
      y: held.y - ((y - 0.5) * this.frame.height) / this.image.height,
    };
    this.hold();
  }

  toRatio(ratio, x, y) { this.to((this.factor * ratio) / this.ratio, x, y); }

  // Moves the picture by so many screen units.
  by(x, y) {
    this.center.x -= x / this.image.width;
    this.center.y -= y / this.image.height;
    this.hold();
  }

  hold() {
    for (const [axis, side] of [["x", "width"], ["y", "height"]]) {
      const half = Math.min(0.5, this.frame[side] / this.image[side] / 2);
      this.center[axis] = Math.min(1 - half, Math.max(half, this.center[axis]));
    }
  }
}
