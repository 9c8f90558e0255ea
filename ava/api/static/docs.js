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

// The colours are the dashboard's: those that its button has chosen, else the system's.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => {
  const chosen = localStorage.getItem("ava.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.toggle("dark-mode", (chosen ?? (dark.matches ? "dark" : "light")) === "dark");
};
dark.addEventListener("change", paint);
paint();
