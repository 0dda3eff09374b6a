package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const twoLists = `{"keys": {
"key-1": [{"entry": "203.0.113.0/24", "label": "office"},
          "203.0.113.128/25", "2001:db8::/48"],
"key-2": ["198.51.100.7"]
}}`

func TestCheck(t *testing.T) {
	path := file(t, "lists.json", twoLists)
	one := file(t, "one.txt", "203.0.113.0/24\n")
	for _, tt := range []struct {
		in   string
		args []string
		code int
		want string
	}{
		{"", []string{"--lists", path, "--key", "key-1", "203.0.113.5", "::ffff:203.0.113.6"}, exitOK, "203.0.113.5 allowed\n::ffff:203.0.113.6 allowed\n"},
		{"", []string{"--lists", path, "--key", "key-1", "203.0.113.5", "203.0.114.5"}, exitDenied, "203.0.113.5 allowed\n203.0.114.5 denied\n"},
		{"", []string{"--lists", path, "--key", "key-3", "--allow-unknown", "203.0.114.5"}, exitOK, "203.0.114.5 unrestricted\n"},
		{"# office\n203.0.113.5\n\n8.8.8.8\n", []string{"--lists", one, "-"}, exitDenied, "203.0.113.5 allowed\n8.8.8.8 denied\n"},
		{"203.0.113.0/24\n", []string{"--lists", "-", "203.0.113.5"}, exitOK, "203.0.113.5 allowed\n"},
		{"", []string{"--lists", path, "--key", "key-2", "--json", "198.51.100.7"}, exitOK, `{"key":"key-2","address":"198.51.100.7","verdict":"allowed","served":true}` + "\n"},
	} {
		code, out, errOut := try(t, tt.in, append([]string{"check"}, tt.args...)...)
		require.Equal(t, tt.code, code, "%v: %s", tt.args, errOut)
		require.Equal(t, tt.want, out)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--lists", path, "203.0.113.5"}, exitUsage, "2 lists; choose one with --key"},
		{[]string{"--lists", path, "--key", "key-1", "office.example"}, exitUsage, `"office.example" is not an address`},
		{[]string{"--lists", path + "x", "203.0.113.5"}, exitUsage, "no such file"},
		{[]string{"--lists", path, "--key", "kye-1", "203.0.113.5"}, exitUsage, `is for the key "kye-1"; did you mean "key-1"`},
		{[]string{"--lists", path, "--key", "other", "203.0.113.5"}, exitUsage, "add --allow-unknown"},
		{[]string{"--lists", path, "--key", "key-1", "-"}, exitUsage, "the standard input has no address"},
		{[]string{"--lists", "-", "203.0.113.5"}, exitUsage, "standard input: the file holds no list"},
		{[]string{"--lists", file(t, "empty.json", "{}"), "203.0.113.5"}, exitUsage, "empty.json: the file holds no list"},
		{[]string{"--lists", path}, exitUsage, "name at least one address"},
		{[]string{"203.0.113.5"}, exitUsage, `required flag(s) "lists"`},
		{[]string{"--lists", "-", "-"}, exitUsage, "not both"},
		{[]string{"--lists", file(t, "bad.txt", "10.0.0.1\n203.0.113.5/24\n"), "203.0.113.5"}, exitDenied, "bad.txt:2: \"203.0.113.5/24\": host_bits_set"},
	} {
		code, out, errOut := try(t, "", append([]string{"check"}, tt.args...)...)
		require.Equal(t, tt.code, code, tt.args)
		require.Empty(t, out)
		require.Contains(t, errOut, tt.want)
	}
}

func TestExplain(t *testing.T) {
	path := file(t, "lists.json", twoLists)
	for _, tt := range []struct {
		key, addr string
		code      int
		want      []string
	}{
		{"key-1", "203.0.113.5", exitOK, []string{`is allowed: it is in 203.0.113.0/24 ("office"), entry 1, at ` + path + ":2"}},
		{"key-1", "203.0.113.200", exitOK, []string{"it is in 203.0.113.128/25, entry 2, at " + path + ":3"}},
		{"key-1", "203.0.112.5", exitDenied, []string{"no entry of \"key-1\" contains it", `nearest: 203.0.113.0/24 ("office")`, "covers 203.0.113.0 to 203.0.113.255; it has the first 23 bits in common"}},
		{"key-2", "2001:db8::1", exitDenied, []string{"the list has no entry of its family"}},
		{"key-3", "203.0.113.5", exitOK, []string{"is unrestricted: the key \"key-3\" has no list"}},
	} {
		code, out, errOut := try(t, "", "explain", "--lists", path, "--key", tt.key, tt.addr)
		require.Equal(t, tt.code, code, out)
		if tt.key == "key-3" {
			require.Contains(t, errOut, `warning: no list in `+path+` is for the key "key-3"; did you mean "key-1" or "key-2"?`)
		} else {
			require.Empty(t, errOut)
		}
		for _, want := range tt.want {
			require.Contains(t, out, want)
		}
	}
	code, out, _ := try(t, "", "explain", "--lists", path, "--key", "key-1", "--json", "203.0.113.5")
	require.Equal(t, exitOK, code)
	require.JSONEq(t, `{"key":"key-1","address":"203.0.113.5","verdict":"allowed","entry":{"entry":"203.0.113.0/24","label":"office","index":0,
		"place":"`+path+`:2","first":"203.0.113.0","last":"203.0.113.255","common_bits":29}}`, out)
}

const requests = `time,key,address
1,key-1,203.0.113.5
2,key-1,203.0.113.200
3,key-1,8.8.8.8
4,key-1,8.8.8.8
5,key-2,198.51.100.7
6,key-2,198.51.100.8
7,key-3,192.0.2.1
8,key-3,nowhere
9,,192.0.2.2
`

func TestAudit(t *testing.T) {
	lists, log := file(t, "lists.json", twoLists), file(t, "requests.csv", requests)
	code, out, errOut := try(t, "", "audit", "--lists", lists, log)
	require.Equal(t, exitOK, code, errOut)
	require.Empty(t, errOut, "no bar in a pipe")
	for _, want := range []string{
		"served, in the list         3   37.50 %", "served, key without a list         1   12.50 %",
		"DENIED         3   37.50 %", "without a key, for authentication         1   12.50 %", "in all         8",
		`"key-1"                  2       2       3`, `"key-2"                  1       1       1`,
		"8.8.8.8         2", "198.51.100.8    1",
		"keys without a list  served", `"key-3"            1`,
		`2001:db8::/48`, lists + ":3", log + ":9", `"nowhere" is not an address`, "9 lines in ",
	} {
		require.Contains(t, out, want)
	}

	code, _, errOut = try(t, "", "audit", "--lists", lists, "--strict", log)
	require.Equal(t, exitDenied, code)
	require.Contains(t, errOut, "1 line of the logs cannot be read")
	code, _, _ = try(t, "", "audit", "--lists", lists, "--fail-on-denied", log)
	require.Equal(t, exitDenied, code)
	code, _, errOut = try(t, "", "audit", "--lists", lists, log+"x")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "requests.csvx: no such file")
	code, _, errOut = try(t, "", "audit", "--lists", lists, filepath.Dir(log))
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "it is a directory")

	code, out, _ = try(t, "", "audit", "--lists", lists, "--top", "0", log)
	require.Equal(t, exitOK, code)
	require.NotContains(t, out, "8.8.8.8")
	code, _, errOut = try(t, "", "audit", "--lists", lists, "--top", "-1", log)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "--top is -1")
	code, _, errOut = try(t, twoLists, "audit", "--lists", "-", "-")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "not both")
	code, _, errOut = try(t, "", "audit", "--lists", lists, file(t, "other.txt", "hello\n"))
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "say --log-format")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(requests)) // to memory
	require.NoError(t, w.Close())
	code, _, errOut = try(t, "", "audit", "--lists", lists, file(t, "cut.csv.gz", z.String()[:z.Len()-9]))
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "breaks off")

	// Nothing passes for a log in which all is well.
	for name, text := range map[string]string{
		"empty.csv": "", "header.csv": "key,address\n", "blank.log": "\n\n", "empty.json": "[]", "page.json": `{"records":[],"next":""}`,
	} {
		for _, command := range [][]string{{"audit", "--lists", lists}, {"suggest"}} {
			code, out, errOut := try(t, "", append(command, "--log-format", map[bool]string{true: "jsonl", false: "csv"}[strings.HasSuffix(name, "json")], file(t, name, text))...)
			require.Equal(t, exitUsage, code, "%s %s", command, name)
			require.Empty(t, out)
			require.Contains(t, errOut, "has no request", name)
			require.Contains(t, errOut, "the logs have no request", name)
		}
	}
	code, out, errOut = try(t, "", "audit", "--lists", lists, "-")
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Contains(t, errOut, "the logs have no request")
	for _, text := range []string{"key,address\nk,nowhere\n", "key,address\nk\n", `{"key":"k"}` + "\n"} {
		for _, command := range [][]string{{"audit", "--lists", lists}, {"suggest"}} {
			code, out, errOut := try(t, "", append(command, log, file(t, "bad.log", text))...)
			require.Equal(t, exitUsage, code, "%s %s", command, text)
			require.Empty(t, out)
			require.Contains(t, errOut, "none of its 1 line can be read as a request (line ", text)
		}
	}
	code, _, errOut = try(t, "", "audit", "--lists", lists, log, file(t, "rotated.csv", "key,address\n"))
	require.Equal(t, exitOK, code, "an empty log beside another one")
	require.Contains(t, errOut, "warning: ")

	// Nothing is reported of a part of the log.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var o, e bytes.Buffer
	require.Equal(t, exitInterrupted, run(ctx, []string{"audit", "--lists", lists, log}, strings.NewReader(""), &o, &e))
	require.Empty(t, o.String())
	require.Equal(t, "ipallow: interrupted\n", e.String())

	// From the standard input, twice the log is twice the requests.
	code, out, _ = try(t, requests, "audit", "--lists", lists, "--json", "-", log)
	require.Equal(t, exitOK, code)
	require.Contains(t, out, `"requests": 16,`)
	require.Contains(t, out, `"denied": 6,`)
	require.Contains(t, out, `"bad_lines": 2,`)
	require.Contains(t, out, `"denied_addresses_error": 0,`)
}

func TestSuggestCommand(t *testing.T) {
	log := file(t, "requests.csv", requests)
	code, out, errOut := try(t, "", "suggest", "--format", "json", log)
	require.Equal(t, exitOK, code)
	require.Contains(t, errOut, "1 line passed over that cannot be read")
	lists := file(t, "suggested.json", out)
	for _, format := range []string{"json", "csv", "text"} {
		_, out, _ := try(t, "", "suggest", "--format", format, log)
		code, out, _ := try(t, out, "validate", "-")
		require.Equal(t, exitOK, code, out)
		require.Contains(t, out, "valid: 3 lists with 6 entries")
	}
	// What was suggested serves what was seen.
	code, out, _ = try(t, "", "audit", "--lists", lists, "--fail-on-denied", log)
	require.Equal(t, exitOK, code, out)

	code, out, _ = try(t, "", "suggest", "--key", "key-1", "--max-entries", "2", log)
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "203.0.113.0/24")
	require.Contains(t, out, "8.8.8.8/32")
	code, _, errOut = try(t, "", "suggest", "--key", "key-9", log)
	require.Equal(t, exitDenied, code)
	require.Contains(t, errOut, `no request of the logs was made with the key "key-9"; did you mean "key-1" or "key-2" or "key-3"?`)
	code, _, _ = try(t, "", "suggest", "--format", "xml", log)
	require.Equal(t, exitUsage, code)
}

// A key of the log that is no key of a text file cannot write entries there.
func TestSuggestText(t *testing.T) {
	for _, key := range []string{`a\n203.0.113.0/24`, "a]b", "203.0.113.5"} {
		log := file(t, "requests.jsonl", `{"key":"`+key+`","address":"198.51.100.7"}`+"\n")
		code, out, errOut := try(t, "", "suggest", "--format", "text", log)
		require.Equal(t, exitDenied, code, key)
		require.Empty(t, out)
		require.Contains(t, errOut, "use --format json or csv")
		for _, format := range []string{"json", "csv"} {
			code, out, _ = try(t, "", "suggest", "--format", format, log)
			require.Equal(t, exitOK, code)
			code, out, _ = try(t, out, "validate", "-")
			require.Equal(t, exitOK, code, out)
			require.Contains(t, out, "1 list with 1 entry")
		}
	}
}

func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	args := []string{"demo", "--dir", dir, "--keys", "400", "--requests", "20000"}
	code, out, errOut := try(t, "", args...)
	require.Equal(t, exitOK, code, errOut)
	for _, want := range []string{"392 lists", "$ ipallow audit --lists ", "DENIED", "in all     19997", "entries never used", `"unix:" is not an address`} {
		require.Contains(t, out, want)
	}
	first, err := os.ReadFile(filepath.Join(dir, "requests.csv"))
	require.NoError(t, err)
	code, _, _ = try(t, "", args...)
	require.Equal(t, exitOK, code, "its own files may be written again")
	again, err := os.ReadFile(filepath.Join(dir, "requests.csv"))
	require.NoError(t, err)
	require.Equal(t, string(first[:4096]), string(again[:4096]))
	require.True(t, string(first) == string(again), "the same seed makes the same files")

	mine := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(mine, "lists.json"), nil, 0o600))
	code, _, errOut = try(t, "", "demo", "--dir", mine)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "name another directory")
	code, _, _ = try(t, "", "validate", filepath.Join(dir, "lists.json"))
	require.Equal(t, exitOK, code)
}

func TestBench(t *testing.T) {
	code, out, errOut := try(t, "", "bench", "--keys", "50,1000", "--rounds", "1")
	require.Equal(t, exitOK, code, errOut)
	require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 5)
	require.Contains(t, out, "bytes a key")
	code, _, _ = try(t, "", "bench", "--keys", "0")
	require.Equal(t, exitUsage, code)
}
