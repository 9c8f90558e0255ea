// Trigger a job over HTTP, wait for its end and print its output. Needs Go 1.24 (crypto/rand.Text).
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
)

type Job struct {
	ID     string          `json:"id"`
	Status string          `json:"status"`
	Output json.RawMessage `json:"output"`
	Error  *string         `json:"error"`
}

func call(method, path string, body any) (job Job, err error) {
	var content bytes.Buffer
	if body != nil {
		if err = json.NewEncoder(&content).Encode(body); err != nil {
			return job, err
		}
	}
	request, err := http.NewRequest(method, os.Getenv("AVA_URL")+path, &content)
	if err != nil {
		return job, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("AVA_API_KEY"))
	request.Header.Set("Content-Type", "application/json")
	if method == "POST" {
		request.Header.Set("Idempotency-Key", rand.Text())
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return job, err
	}
	defer response.Body.Close()
	var answer struct {
		Data  Job
		Error struct{ Code, Message string }
	}
	if err = json.NewDecoder(response.Body).Decode(&answer); err == nil && response.StatusCode >= 400 {
		err = fmt.Errorf("%s: %s", answer.Error.Code, answer.Error.Message)
	}
	return answer.Data, err
}

func main() {
	input := map[string]any{"seconds": 0.1}
	job, err := call("POST", "/v1/ava/jobs", map[string]any{"worker_id": "wkr_sleep", "input": input})
	for err == nil && (job.Status == "queued" || job.Status == "running") {
		job, err = call("GET", "/v1/ava/jobs/"+job.ID+"?wait=30", nil)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.Status, string(job.Output))
}
