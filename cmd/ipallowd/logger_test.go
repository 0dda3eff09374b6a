package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a client sends is in the log as what it is, in both formats.
func TestHiddenCharactersInTheLog(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		for r, shown := range map[rune]string{'\u202e': "[U+202E]", '\u3164': "[U+3164]", '\u009b': "[U+009B]", '\U000e0041': "[U+E0041]", '\n': "[U+000A]"} {
			var out bytes.Buffer
			logger, err := newLogger(&out, format, "debug")
			require.NoError(t, err)
			text := "a" + string(r) + "b"
			logger.With("upstream", text).WithGroup("g").Info("message "+text, "path", text, "error", fmt.Errorf("open: %w", errors.New(text)), "count", 7)
			line := out.String()
			require.NotContains(t, line[:len(line)-1], string(r), "%s: %q", format, line)
			want := 4
			if r == '\n' {
				want = 3 // of an error the lines stay, escaped
			}
			require.Equal(t, want, bytes.Count(out.Bytes(), []byte(shown)), "%s: %s", format, line)
			require.Contains(t, line, "7")
		}
	}
}
