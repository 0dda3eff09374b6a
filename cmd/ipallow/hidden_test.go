package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/visible"
)

// Lists and logs are files of others: no command writes a character of theirs to a
// terminal that hides, moves others or commands it.
func TestHiddenCharacters(t *testing.T) {
	for _, hidden := range []string{"\u202e", "\u3164", "\uffa0", "\u2800", "\u034f", "\ufe0f", "\U000e0041", "\u009b31m", "\u200b", "\u00ad", "\ue000", "\u2003", "\u200d"} {
		key, label := "pay"+hidden+"roll", "lab"+hidden+"el"
		text, err := json.Marshal(map[string]any{"keys": map[string]any{key: []any{
			map[string]string{"entry": "203.0.113.0/24", "label": label}, "203.0.113.7", "198.51.100.7",
		}}})
		require.NoError(t, err)
		lists := file(t, "lists.json", string(text))
		faulty := file(t, "faulty"+hidden+".txt", "[k"+hidden+"]\n203.0.113.0"+hidden+"/24 # x\n10."+hidden+"\n")
		log := file(t, "requests.csv", "key,address\n"+key+",203.0.113.5\n"+key+",8.8.8.8\nother"+hidden+",192.0.2.1\n"+key+",no"+hidden+"where\n")
		for _, args := range [][]string{
			{"validate", lists}, {"validate", "--json", lists}, {"validate", faulty}, {"validate", "--json", faulty},
			{"check", "--lists", lists, "--key", key, "--json", "8.8.8.8"}, {"check", "--lists", lists, "--key", key, "8.8" + hidden},
			{"check", "--lists", faulty, "--key", key, "8.8.8.8"}, {"check", "--lists", lists + hidden, "8.8.8.8"}, {"check", "--" + hidden},
			{"explain", "--lists", lists, "--key", key, "203.0.113.5", "8.8.8.8"}, {"explain", "--lists", lists, "--key", key + "x", "8.8.8.8"},
			{"explain", "--lists", lists, "--key", key, "--json", "203.0.113.5"},
			{"audit", "--lists", lists, log}, {"audit", "--lists", lists, "--json", log}, {"audit", "--lists", lists, "--log-format", hidden, log},
			{"suggest", log}, {"suggest", "--format", "json", log}, {"suggest", "--key", hidden, log}, {hidden},
		} {
			_, out, errOut := try(t, "", args...)
			for _, s := range []string{out, errOut} {
				require.NotContains(t, s, hidden, "%q", args)
				require.Equal(t, s, string(visible.HTML([]byte(s))), "%q", args)
			}
			if strings.Contains(strings.Join(args, " "), "--json") && json.Valid([]byte(out)) && args[0] == "explain" {
				var x explanation
				require.NoError(t, json.Unmarshal([]byte(out), &x))
				require.Equal(t, key, x.Key, "programs read the text itself")
				require.Equal(t, label, x.Entry.Label)
			}
		}
		_, out, _ := try(t, "", "explain", "--lists", lists, "--key", key, "203.0.113.5")
		if hidden != "\u009b31m" { // no list may have it
			require.Contains(t, out, visible.Quote(label))
		}
	}
}
