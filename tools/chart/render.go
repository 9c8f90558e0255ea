// Renders the chart where Helm is not installed. It knows the functions of Helm that the chart uses and refuses all others, so that
// what it accepts means the same in Helm. It reads {"templates": {name: text}, "scope": {…}} and writes {name: rendered text}, as JSON.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/template"
)

type chart struct {
	Templates map[string]string `json:"templates"`
	Scope     map[string]any    `json:"scope"`
}

func main() {
	var given chart
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fail(err)
	}
	rendered, err := render(given)
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(rendered); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// render returns the text of each template that is not a partial one.
func render(given chart) (map[string]string, error) {
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(functions(all))
	for name, text := range given.Templates {
		if _, err := all.New(name).Parse(text); err != nil {
			return nil, err
		}
	}
	rendered := map[string]string{}
	for name := range given.Templates {
		if strings.HasPrefix(name, "_") {
			continue
		}
		var out strings.Builder
		if err := all.ExecuteTemplate(&out, name, given.Scope); err != nil {
			return nil, err
		}
		if strings.Contains(out.String(), "<no value>") {
			return nil, fmt.Errorf("%s uses a value that does not exist", name)
		}
		rendered[name] = out.String()
	}
	return rendered, nil
}

// functions returns those of Sprig and Helm that the chart uses, with their meaning there.
func functions(all *template.Template) template.FuncMap {
	return template.FuncMap{
		"add": func(first, second any) int64 { return integer(first) + integer(second) },
		"default": func(other, value any) any {
			if truth, _ := template.IsTrue(value); truth {
				return value
			}
			return other
		},
		"dict": func(pairs ...any) (map[string]any, error) {
			if len(pairs)%2 != 0 {
				return nil, fmt.Errorf("dict needs a value for each key")
			}
			made := map[string]any{}
			for at := 0; at < len(pairs); at += 2 {
				made[text(pairs[at])] = pairs[at+1]
			}
			return made, nil
		},
		"div": func(whole, part any) int64 { return integer(whole) / integer(part) },
		"include": func(name string, scope any) (string, error) {
			var out strings.Builder
			err := all.ExecuteTemplate(&out, name, scope)
			return out.String(), err
		},
		"int": integer,
		"join": func(between string, values []any) string {
			texts := make([]string, len(values))
			for at, value := range values {
				texts[at] = text(value)
			}
			return strings.Join(texts, between)
		},
		"list": func(values ...any) []any { return values },
		"max": func(first, second any) int64 {
			if integer(first) > integer(second) {
				return integer(first)
			}
			return integer(second)
		},
		"mul": func(values ...any) int64 {
			product := int64(1)
			for _, value := range values {
				product *= integer(value)
			}
			return product
		},
		"nindent": func(spaces int, value string) string {
			pad := "\n" + strings.Repeat(" ", spaces)
			return pad + strings.ReplaceAll(value, "\n", pad)
		},
		"quote":     func(value any) string { return strconv.Quote(text(value)) },
		"sha256sum": func(value string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(value))) },
		"toJson": func(value any) (string, error) {
			encoded, err := json.Marshal(value)
			return string(encoded), err
		},
	}
}

func text(value any) string { return fmt.Sprint(value) }

// integer returns a whole number. Numbers of JSON, and of Helm's values, are floating-point ones.
func integer(value any) int64 {
	switch number := value.(type) {
	case float64:
		return int64(number)
	case int64:
		return number
	case int:
		return int64(number)
	}
	panic(fmt.Sprintf("%v is not a number", value))
}
