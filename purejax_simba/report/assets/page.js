// Draws a chart when it comes near the screen; a page may have hundreds.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const config = { responsive: true, displaylogo: false, displayModeBar: "hover" };
  const axis = { gridcolor: "#e6e9ed", zeroline: false, automargin: true, title: { standoff: 6 } };
  const template = {
    layout: {
      margin: { l: 44, r: 12, t: 12, b: 40 },
      hovermode: "closest",
      hoverlabel: { namelength: -1 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", font: { size: 11 } },
      xaxis: axis,
      yaxis: axis,
      font: { size: 12 },
      colorway: ["#0072B2"],
    },
    data: {
      scatter: [{ hovertemplate: "%{x:,}: %{y:.4g}" }],
      bar: [{ hovertemplate: "%{y}: %{x:.2f}<extra></extra>" }],
    },
  };
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) {
        observer.unobserve(target);
        const chart = charts[target.dataset.chart];
        Plotly.newPlot(target, chart.data, { ...chart.layout, template }, config);
      }
    }
  }, { rootMargin: "400px" });
  document.querySelectorAll(".chart").forEach((element) => observer.observe(element));
})();
