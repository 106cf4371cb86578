"""The paper's ablations on networks of nano's size: what is measured, how it is kept, and the page made of it."""
