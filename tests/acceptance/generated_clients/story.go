// A trigger, a wait, an error, and a value that a newer server added, with the client of openapi-generator.
package main

import (
	"context"
	"encoding/json"
	"os"

	openapi "github.com/GIT_USER_ID/GIT_REPO_ID"
)

func jobs(variable string) *openapi.JobsAPIService {
	configuration := openapi.NewConfiguration()
	configuration.Servers = openapi.ServerConfigurations{{URL: os.Getenv(variable)}}
	configuration.AddDefaultHeader("Authorization", "Bearer "+os.Getenv("AVA_API_KEY"))
	return openapi.NewAPIClient(configuration).JobsAPI
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	api, ctx := jobs("AVA_URL"), context.Background()
	body := openapi.NewTriggerBody("wkr_sleep")
	body.SetInput(map[string]any{"seconds": 0})
	triggered, _, err := api.TriggerJob(ctx).TriggerBody(*body).Execute()
	check(err)
	waited, _, err := api.ShowJob(ctx, triggered.Data.Id).Wait(30).Execute()
	check(err)
	unknown, _, err := jobs("NEWER_URL").ShowJob(ctx, triggered.Data.Id).Execute()
	check(err)
	_, response, err := api.TriggerJob(ctx).TriggerBody(*openapi.NewTriggerBody("wkr_unknown")).Execute()
	refusal := err.(*openapi.GenericOpenAPIError).Model().(openapi.Error)
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"triggered": triggered.Data.Status,
		"waited":    []any{waited.Data.Status, waited.Data.Output},
		"refused":   []any{response.StatusCode, refusal.Error.Code},
		"unknown":   []any{unknown.Data.Status, unknown.Data.Trigger},
	}))
}
