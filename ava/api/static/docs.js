// Starts Swagger UI with our description. No validator, because it would send the description to another server.
"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
  tryItOutEnabled: true,
});

// Use the colours of the dashboard: its button's choice, or the system's.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => {
  const chosen = localStorage.getItem("ava.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.toggle("dark-mode", (chosen ?? (dark.matches ? "dark" : "light")) === "dark");
};
dark.addEventListener("change", paint);
paint();
