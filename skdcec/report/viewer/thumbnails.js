// Pictures of the images: single thumbnails, and cells of sheets where there are none.

const chunks = [];

function single(i) {
  const chunk = Math.floor(i / CHUNK);
  chunks[chunk] ??= $(`thumbnails-${chunk}`).textContent.split("\n");
  const base64 = chunks[chunk][i % CHUNK];
  return base64 ? `data:image/webp;base64,${base64}` : "";
}

const sheets = [];

function sheet(number) {
  if (!sheets[number]) {
    const image = new Image();
    image.decoding = "async";
    image.src = `data:image/webp;base64,${$(`sheet-${number}`).textContent}`;
    sheets[number] = { image, ready: false };
    sheets[number].loaded = image.decode().then(() => {
      sheets[number].ready = true;
      requestDraw();
    });
  }
  return sheets[number];
}

function cellOf(i) {
  const place = i % (PER_SIDE * PER_SIDE);
  return {
    number: Math.floor(i / (PER_SIDE * PER_SIDE)),
    x: (place % PER_SIDE) * CELL,
    y: Math.floor(place / PER_SIDE) * CELL,
  };
}

function picture(i) {
  const img = element("img", { alt: data.files[i], decoding: "async" });
  const source = single(i);
  if (source) {
    img.src = source;
  } else {
    const cell = cellOf(i);
    sheet(cell.number).loaded.then(() => {
      const canvas = element("canvas", { width: CELL, height: CELL });
      canvas.getContext("2d").drawImage(sheets[cell.number].image, -cell.x, -cell.y);
      img.src = canvas.toDataURL();
    });
  }
  return img;
}

function tile(i, caption = null, onchoose = openImage) {
  return element("li", {},
    button(picture(i), (event) => onchoose(i, listedWith(event.currentTarget)), { class: "tile", title: data.files[i], "data-image": i }),
    caption);
}

function listedWith(chosen) {
  return [...chosen.closest("ul").querySelectorAll("[data-image]")].map((one) => Number(one.dataset.image));
}

function tiles(indices, caption = () => null) {
  return element("ul", { class: "tiles" }, ...indices.map((i) => tile(i, caption(i))));
}
