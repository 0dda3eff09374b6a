package api

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDocs runs every curl command of docs/api.md, in its order, except that
// the key is revoked at the end. There must be one for every operation.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/api.md")
	require.NoError(t, err)
	w := newWorld(t)
	vars := map[string]string{"API": w.server.URL, "AUTH": "Authorization: Bearer " + adminToken, "NODE": "gate-2"}
	seen := map[string]bool{}
	commands := curls(t, string(text))
	slices.SortStableFunc(commands, func(a, b string) int { return revokes(a) - revokes(b) })
	for _, command := range commands {
		c := parseCurl(t, command, vars)
		c.path = strings.TrimPrefix(c.path, w.server.URL)
		a := w.do(c)
		require.Less(t, a.StatusCode, 300, "%s: %s", command, a.text)
		if a.StatusCode == 201 {
			vars["ID"] = strings.TrimPrefix(a.Header.Get("Location"), "/api/v1/keys/")
			w.served(vars["ID"], "203.0.113.5", time.Minute)
		}
		if tag := a.Header.Get("ETag"); tag != "" {
			vars["ETAG"] = tag
		}
		path, _, _ := strings.Cut(c.path, "?")
		if vars["ID"] != "" {
			path = strings.ReplaceAll(path, vars["ID"], "{id}")
		}
		seen[c.method+" "+strings.ReplaceAll(path, vars["NODE"], "{name}")] = true
	}
	for _, o := range operations(t, nil) {
		require.True(t, seen[o.method+" "+o.path], "docs/api.md has no command for %s %s", o.method, o.path)
	}
}

func revokes(command string) int { return strings.Count(command, "-X DELETE") }

// TestDocsErrors compares the table of errors with the document.
func TestDocsErrors(t *testing.T) {
	text, err := os.ReadFile("../../../docs/api.md")
	require.NoError(t, err)
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| (\\d+) \\| `([A-Z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[2])
		for _, known := range knownErrors {
			if known.answer.Code == m[2] {
				require.Equal(t, m[1], strconv.Itoa(known.answer.status), m[2])
			}
		}
	}
	for _, code := range document.Components.Schemas["Error"].Value.Properties["error"].Value.Properties["code"].Value.Enum {
		want = append(want, code.(string))
	}
	require.ElementsMatch(t, want, got)
}

// curls returns the curl commands in the shell examples of a document.
func curls(t *testing.T, text string) []string {
	t.Helper()
	var commands []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for _, part := range regexp.MustCompile(`(?m)^curl `).Split(block[1], -1)[1:] {
			commands = append(commands, strings.TrimSpace(part))
		}
	}
	require.NotEmpty(t, commands)
	return commands
}

// parseCurl understands the few options that the documents use.
func parseCurl(t *testing.T, command string, vars map[string]string) call {
	t.Helper()
	c := call{method: "GET", anonymous: true, header: map[string][]string{}}
	words := shellWords(t, command, vars)
	for i := 0; i < len(words); i++ {
		next := func() string { i++; return words[i] }
		switch word := words[i]; {
		case word == "-i":
		case word == "-o":
			next()
		case word == "-X":
			c.method = next()
		case word == "-H":
			name, value, ok := strings.Cut(next(), ": ")
			require.True(t, ok, command)
			c.header.Set(name, value)
		case word == "--json":
			c.body = next()
			c.header.Set("Accept", "application/json")
			if c.method == "GET" {
				c.method = "POST"
			}
		default:
			require.Empty(t, c.path, "%s: %s", command, word)
			c.path = word
		}
	}
	return c
}

// shellWords splits a command as a shell does, with quotes and variables.
func shellWords(t *testing.T, command string, vars map[string]string) []string {
	t.Helper()
	expand := func(s string) string {
		return os.Expand(s, func(name string) string {
			require.Contains(t, vars, name, command)
			return vars[name]
		})
	}
	var words []string
	rest := command
	for rest != "" {
		var word strings.Builder
		for rest != "" && rest[0] != ' ' && rest[0] != '\n' {
			switch quote := rest[0]; quote {
			case '\'', '"':
				inner, behind, ok := strings.Cut(rest[1:], string(quote))
				require.True(t, ok, command)
				if quote == '"' {
					inner = expand(inner)
				}
				word.WriteString(inner)
				rest = behind
			default:
				n := strings.IndexAny(rest, "'\" \n")
				if n < 0 {
					n = len(rest)
				}
				word.WriteString(expand(rest[:n]))
				rest = rest[n:]
			}
		}
		words = append(words, word.String())
		rest = strings.TrimLeft(rest, " \n")
	}
	return words
}
