package listfile

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ipallow/ipallow"
	"github.com/stretchr/testify/require"
)

// What is read can be written in each format that can hold it, and reads
// back the same. Nothing panics, and no error is without the file's name.
func FuzzRead(f *testing.F) {
	f.Add("203.0.113.0/24 # office\n[key-1]\n10.0.0.1\n")                                                            // text with a list before the first key
	f.Add("[::1]\n[key]\n[2001:db8::]:80\n")                                                                         // brackets that are no key
	f.Add("key,entry,label\nk,203.0.113.5,\"a, b\"\n,::1,\n")                                                        // CSV, quoted, an empty key
	f.Add("entry\n1.2.3.4\n\"1.2\n.3.4\"\n")                                                                         // CSV, a field of two lines
	f.Add(`{"keys": {"k": ["1.2.3.4", {"entry": "::1"}], "": []}}`)                                                  // JSON, an empty list
	f.Add("{\"key\": \"a\", \"entries\": []}\n{\"key\": \"b\", \"entries\": [{\"label\": \"x\", \"entry\": \"\"}]}") // JSON lines
	f.Add(`[{"entry": "1.2.3.4"}, "5.6.7.8"]`)                                                                       // JSON, one list
	f.Add(`{"keys": {"k": [[]]}}`)                                                                                   // JSON, not an entry
	f.Add("\xef\xbb\xbfentry\r\n1.2.3.4\r\n")                                                                        // a byte order mark, CRLF
	f.Add("\x1f\x8b")                                                                                                // the beginning of a gzip stream
	f.Fuzz(func(t *testing.T, text string) {
		lists, err := Read("a file", strings.NewReader(text), &Options{Key: "default"})
		if err != nil {
			require.Contains(t, err.Error(), "a file")
			return
		}
		seen := map[string]bool{}
		object := map[string][]ipallow.EntryText{}
		var rows [][]string
		empty := false
		for i := range lists {
			l := &lists[i]
			require.False(t, seen[l.Key], "the key %q has two lists", l.Key)
			require.Positive(t, l.Pos.Line)
			seen[l.Key] = true
			empty = empty || len(l.Items) == 0
			object[l.Key] = l.Texts()
			for _, it := range l.Items {
				require.GreaterOrEqual(t, it.Pos.Line, 1)
				require.LessOrEqual(t, it.Pos.Line, 1+strings.Count(text, "\n"))
				rows = append(rows, []string{l.Key, it.Entry, it.Label})
			}
		}
		if len(lists) == 0 || strings.ToValidUTF8(text, "") != text {
			return // JSON cannot hold texts that are not UTF-8
		}
		b, err := json.Marshal(map[string]any{"keys": object})
		require.NoError(t, err)
		again, err := Read("again.json", strings.NewReader(string(b)), nil)
		require.NoError(t, err, "%s", b)
		require.Equal(t, object, texts(again))

		var c strings.Builder
		w := csv.NewWriter(&c)
		require.NoError(t, w.Write([]string{"key", "entry", "label"}))
		trimmed := true
		for _, row := range rows {
			for _, field := range row {
				// Surrounding space, and \r\n in a field, do not come back from CSV.
				trimmed = trimmed && strings.TrimSpace(field) == field && !strings.Contains(field, "\r")
			}
			require.NoError(t, w.Write(row))
		}
		w.Flush()
		if trimmed && !empty {
			again, err = Read("again.csv", strings.NewReader(c.String()), nil)
			require.NoError(t, err, "%q", c.String())
			require.Equal(t, object, texts(again), "%q", c.String())
		}
	})
}

func texts(lists []List) map[string][]ipallow.EntryText {
	m := map[string][]ipallow.EntryText{}
	for i := range lists {
		m[lists[i].Key] = lists[i].Texts()
	}
	return m
}

func TestSection(t *testing.T) {
	for text, want := range map[string]string{
		"[key-1]": "key-1", "[key-1] # office": "key-1", "[a b]": "a b",
		"[::1]": "", "[203.0.113.5]": "", "[]": "", "[k": "", "[k]x": "", "k]": "",
	} {
		got, ok := section(text)
		require.Equal(t, want, got, text)
		require.Equal(t, want != "", ok, text)
	}
}
