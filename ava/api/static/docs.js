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
