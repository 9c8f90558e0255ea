// A worker over plain HTTP: it claims runs of wkr_resize, reports that they are alive, and ends them.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

var url, key = os.Getenv("AVA_URL"), os.Getenv("AVA_API_KEY")

type run struct {
	Run   string `json:"run"`
	Input struct {
		Width int `json:"width"`
	} `json:"input"`
}

// call sends a request, again and again while the network or the server fails, and returns its status.
func call(path, bearer string, body, data any) int {
	text, _ := json.Marshal(body)
	for pause := time.Second; ; pause = min(2*pause, 5*time.Second) {
		request, _ := http.NewRequest("POST", url+"/v1/ava/runs/"+path, bytes.NewReader(text))
		request.Header.Set("Content-Type", "application/json")
		if bearer != "" {
			request.Header.Set("Authorization", "Bearer "+bearer)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil && response.StatusCode < 500 && response.StatusCode != 429 {
			defer response.Body.Close()
			json.NewDecoder(response.Body).Decode(&struct {
				Data any `json:"data"`
			}{data})
			return response.StatusCode
		}
		if err == nil {
			response.Body.Close()
		}
		time.Sleep(pause)
	}
}

// work runs one claimed run, and reports that it is alive until it has ended.
func work(each run) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(4 * time.Second):
				call("heartbeat", "", map[string]any{"runs": []string{each.Run}}, nil)
			}
		}
	}()
	defer close(done)
	line := map[string]any{"seq": 0, "msg": fmt.Sprintf("resizes to %d", each.Input.Width)}
	call(each.Run+"/lines", "", map[string]any{"lines": []any{line}}, nil)
	call(each.Run+"/end", "", map[string]any{"output": map[string]int{"width": 2 * each.Input.Width}}, nil)
}

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	var running sync.WaitGroup
	for {
		select {
		case <-stop:
			running.Wait()
			return
		default:
		}
		var claimed []run
		status := call("claim", key, map[string]any{"workers": []string{"wkr_resize"}, "capacity": 4, "wait": 5}, &claimed)
		if status != 200 {
			fmt.Fprintln(os.Stderr, "the claim was refused:", status)
			os.Exit(1)
		}
		for _, each := range claimed {
			running.Add(1)
			go func() { defer running.Done(); work(each) }()
		}
	}
}
