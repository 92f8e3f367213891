// Draws a chart when it comes near the screen; a page may have hundreds.
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const config = { responsive: true, displaylogo: false, displayModeBar: "hover" };

  function draw(element) {
    const spec = specs[element.dataset.chart];
    const choice = document.querySelector(`select[data-chart="${element.dataset.chart}"]`);
    if (!choice) {
      Plotly.newPlot(element, spec.data, spec.layout, config);
      return;
    }
    const show = () => {
      Plotly.react(element, spec.choices[choice.value], spec.layout, config);
    };
    choice.addEventListener("change", show);
    show();
  }

  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        observer.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "400px" });
  document.querySelectorAll(".chart").forEach((element) => observer.observe(element));
})();
