// Cuts what is below a board off its picture, and makes the file small: shrink.cjs IN OUT

const sharp = require('sharp');

const MARGIN = 16;
const COLOURS = 256;

async function shrink(taken, picture) {
  const [red, green, blue] = await sharp(taken)
    .extract({ left: 0, top: 0, width: 1, height: 1 })
    .removeAlpha()
    .raw()
    .toBuffer();
  const background = { r: red, g: green, b: blue };
  const board = await sharp(taken).trim({ background, threshold: 1 }).toBuffer();
  await sharp(board)
    .extend({ top: MARGIN, right: MARGIN, bottom: MARGIN, left: MARGIN, background })
    .png({ palette: true, colours: COLOURS, dither: 0, effort: 10 })
    .toFile(picture);
}

shrink(...process.argv.slice(2));
