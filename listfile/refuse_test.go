package listfile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRefused has files of which one list or entry would get lost: none of
// their lists is returned, and the error says where and what.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, name, text, want string }{
		{"a key twice", "f.json", "{\"keys\": {\n\"k\": [\"203.0.113.5\"],\n\"k\": []}}", `f.json:3: the key "k" has a list already, at f.json:2`},
		{"a key twice, once with an escape", "f.json", "{\"keys\": {\"k\": [],\n\"\\u006b\": []}}", `f.json:2: the key "k"`},
		{"a key twice, in lines", "f.jsonl", "{\"key\": \"k\", \"entries\": []}\n{\"key\": \"k\", \"entries\": []}", `f.jsonl:2: the key "k"`},
		{"a key twice, in an array", "f.json", `[{"key": "k", "entries": []}, {"entries": [], "key": "k"}]`, `the key "k"`},
		{"a key twice, in two documents", "f.json", "{\"keys\": {\"k\": []}}\n{\"keys\": {\"k\": []}}", `f.json:2: the key "k"`},
		{"a key twice, in text", "f.txt", "[k]\n203.0.113.5\n[k]\n", `f.txt:3: the key "k"`},
		{"keys twice", "f.json", `{"keys": {"a": []}, "keys": {"b": []}}`, `nothing may stand beside "keys"`},
		{"entries twice", "f.json", `{"key": "k", "entries": ["203.0.113.5"], "entries": []}`, `the field "entries" occurs twice`},
		{"an entry's field twice", "f.json", `["203.0.113.5", {"entry": "203.0.113.6", "entry": "203.0.113.7"}]`, `the field "entry" occurs twice`},
		{"a field that is not known", "f.json", `{"key": "k", "entries": [], "Entries": ["203.0.113.5"]}`, `the field "Entries" is not known`},
		{"a document that breaks off", "f.json", `{"keys": {"k": ["203.0.113.5"`, `f.json:1: `},
		{"something after the document", "f.json", `{"keys": {"k": []}} x`, `f.json:1: `},
		{"a key that is no UTF-8", "f.json", "{\"keys\":\n{\"k\xff\": []}}", `f.json:2: the text is not UTF-8`},
		{"half a character of UTF-16", "f.json", `{"keys": {"k\ud800": []}}`, `is not valid UTF-8`},
		{"a key of text that is no UTF-8", "f.txt", "[k\xff]\n203.0.113.5", `f.txt:1: the key "k\xff" is not valid UTF-8`},
		{"a row with more fields than the header", "f.csv", "key,entry\nk,203.0.113.5,203.0.113.6\n", `f.csv:2: the row has 3 fields`},
		{"two columns of entries", "f.csv", "key,entry,Entry\nk,203.0.113.5,203.0.113.6\n", `f.csv:1: the header has two columns named "entry"`},
		{"no column of entries", "f.csv", "key,address\nk,203.0.113.5\n", `f.csv:1: the header has no column named entry`},
		{"semicolons", "f.csv", "key;entry;label\nk;203.0.113.5;office\n", `f.csv:1: the columns are separated by semicolons`},
		{"semicolons, by content", "f", "\"key\";\"entry\"\nk;203.0.113.5\n", `f:1: the columns are separated by semicolons`},
		{"tabs", "f", "entry\tkey\n203.0.113.5\tk\n", `f:1: the columns are separated by tabs`},
		{"vertical bars", "f.csv", "key|entry\nk|203.0.113.5\n", `f.csv:1: the columns are separated by vertical bars`},
		{"a comment", "f.json", "{\"keys\": {\n// the office\n\"k\": []}}", `f.json:2: this is a comment, and JSON has none`},
		{"a comment of another kind", "f.json", "{\"keys\": { /* the office */ \"k\": []}}", `f.json:1: this is a comment`},
		{"a comment with a number sign", "f.json", "# lists\n{\"keys\": {\"k\": []}}", `f.json:1: this is a comment`},
		{"a comment before it, by content", "f", "// lists\n{\"keys\": {\"k\": []}}", `f:1: this is a comment`},
		{"a comment after it", "f.json", "{\"keys\": {\"k\": []}}\n// end", `f.json:2: this is a comment`},
		{"a number", "f.json", `17`, `f.json:1: want {"keys"`},
		{"null", "f.json", `{"keys": {"k": null}}`, `the entries of a key are an array`},
	} {
		lists, err := Read(c.name, strings.NewReader(c.text), nil)
		require.ErrorContains(t, err, c.want, c.reason)
		require.True(t, strings.HasPrefix(err.Error(), c.name+":"), "%s: %v", c.reason, err)
		require.Nil(t, lists, c.reason)
	}
}

func TestNoLists(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text string }{
		{"f", ""}, {"f.json", ""}, {"f.csv", ""}, {"f.txt", ""}, {"f", " \n\t\n"}, {"f.json", "\n"}, {"f", "\xef\xbb\xbf"},
		{"f.json", "{}"}, {"f", "{}"}, {"f.json", `{"keys": {}}`}, {"f.json", "[]"}, {"f", "[]"}, {"f.json", "[] {} []"},
		{"f.csv", "key,entry\n"}, {"f", "entry"}, {"f.txt", "# nothing yet\n\n"},
	} {
		_, err := Read(c.name, strings.NewReader(c.text), nil)
		require.ErrorIs(t, err, ErrNoLists, "%s %q", c.name, c.text)
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		fmt.Fprint(w, c.text)
		require.NoError(t, w.Close())
		_, err = Read(c.name+".gz", &z, nil)
		require.ErrorIs(t, err, ErrNoLists, "compressed %q", c.text)
	}
	lists, err := Read("f.json", strings.NewReader(`{"keys": {"k": []}}`), nil)
	require.NoError(t, err, "a list without an entry is a list")
	require.Len(t, lists, 1)
}

// An array may hold entries of one list and lists of keys, in any order, and
// every entry is kept.
func TestMixedArray(t *testing.T) {
	t.Parallel()
	for n := range 20 { // the lists move in memory as they become more
		text := `["203.0.113.1"`
		for i := range n {
			text += fmt.Sprintf(`, {"key": "k%d", "entries": ["203.0.113.9"]}, "203.0.113.%d"`, i, i+2)
		}
		lists, err := Read("f.json", strings.NewReader(text+"]"), &Options{Key: "own"})
		require.NoError(t, err)
		require.Len(t, lists, n+1)
		require.Equal(t, "own", lists[0].Key)
		require.Len(t, lists[0].Items, n+1)
		for i := range n {
			require.Len(t, lists[i+1].Items, 1)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A reader that fails is no empty file.
func TestReaderFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	for _, name := range []string{"f", "f.json", "f.csv", "f.txt"} {
		_, err := Read(name, failing{broken}, nil)
		require.ErrorIs(t, err, broken, name)
	}
}
