/* The page of a comparison: a button beside each picture opens the viewer with the slider between two runs. */
(() => {
  const { all, layers, viewer } = segwright;
  if (!viewer) return;
  for (const button of all("button.slide")) {
    const [place, view, other] = button.dataset.slide.split(" ").map(Number);
    button.addEventListener("click", () => viewer.open(layers.data.pictures, place, { view, other, split: true }));
  }
})();
