"""Pictures in, pictures out: limits, orientation, depth, alpha, colour profiles and metadata.

The only package that knows libvips and what else decodes. Formats are told by content, never by name, and only the
decoders named here are reached. Rules for what comes in:

- The orientation of EXIF, else of XMP, is applied, and both say "upright" from then on; the thumbnail of the old
  picture is dropped. HEIC, AVIF and camera files say themselves how they stand, and that counts there.
- Pixel values stay in the picture's own colour space and its RGB profile goes with them. CMYK becomes sRGB through its
  embedded profile, else through a press profile that libvips brings, and that profile is dropped; L*a*b* becomes sRGB.
- Camera files are developed plainly: the camera's white balance, brightness as exposed, sRGB, 16 bits.
- Fully transparent pixels get the colour of the nearest pixel that can be seen: whatever was hidden there would shine
  through at the rim after enlarging. Pixels that can be seen, however faintly, keep their colour.
- Of several pages, frames or views the first is used; `Picture.warnings` says so.
- What looks empty, one colour or nothing but transparency, is held against what Pillow sees in the file.
- EXIF, XMP, IPTC, texts and print density are kept, or `save` returns one warning that names what the format has no
  place for; `Picture.warnings` names what is in a file and no result is given.

Modules: `formats` and `picture` say what there is; `read` and `write` do it, with `metadata` for what stands beside the
pixels (`directories` of TIFF and EXIF, `containers` of JPEG, PNG, GIF, WebP, `boxes` of AVIF) and `failures` for what
goes wrong. `decoders` has libvips and Pillow, `heic` and `raw` the libraries for these, `tiff` tells which one reads a
TIFF file. `libvips` holds what that library has once for all threads; `buffers` are arrays too large for memory,
`stripes` keeps what is finished of them, `resample` brings them to a size. Any number of threads may read and write at
once.
"""

from ccsr.images.formats import FORMATS, MAX_PIXELS, RAW_SUFFIXES, SUFFIXES, output_suffix
from ccsr.images.picture import Header, Picture
from ccsr.images.read import from_pillow, load, of_channels, read_header
from ccsr.images.write import save, to_uint8

__all__ = [
    "FORMATS", "MAX_PIXELS", "RAW_SUFFIXES", "SUFFIXES", "Header", "Picture", "from_pillow", "load", "of_channels",
    "output_suffix", "read_header", "save", "to_uint8",
]  # fmt: skip
