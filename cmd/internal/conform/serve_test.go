package conform

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ipallow/ipallow/conformance"
	"github.com/stretchr/testify/require"
)

func TestServe(t *testing.T) {
	var out bytes.Buffer
	in := `{"version":1,"id":"a","kind":"entry","entry":"203.0.113.5"}` + "\n" +
		`{"version":9,"id":"b","kind":"entry","entry":"203.0.113.5"}` + "\n" +
		`{"version":1,"id":"c","kind":"entry","entry":"203.0.113.5/24"}`
	require.NoError(t, Serve(strings.NewReader(in), &out, conformance.Engine()))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 3)
	require.JSONEq(t, `{"id":"a","canonical":"203.0.113.5/32"}`, lines[0])
	require.Contains(t, lines[1], `"error":`, "a question that it cannot take is answered, and the next one too")
	require.JSONEq(t, `{"id":"c","code":"host_bits_set","suggest":["203.0.113.0/24","203.0.113.5"]}`, lines[2])
}

func TestServeRefuses(t *testing.T) {
	for _, c := range []struct{ in, why string }{
		{"\n", "an empty line"},
		{"hello\n", "not JSON"},
		{`{"version":1,"kind":"entry"}` + "\n", "no ID"},
		{strings.Repeat(" ", MaxLine+1) + "\n", "too long"},
	} {
		var out bytes.Buffer
		require.ErrorContains(t, Serve(strings.NewReader(c.in), &out, conformance.Engine()), "line 1", c.why)
		require.Empty(t, out.String(), c.why)
	}
	closed := errors.New("closed")
	in := strings.NewReader(`{"version":1,"id":"a","kind":"entry","entry":"x"}` + "\n")
	require.ErrorIs(t, Serve(in, failingWriter{closed}, conformance.Engine()), closed)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// TestLineReader reads lines at, below and above the bound.
func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", MaxLine-1)
	r := newLineReader(strings.NewReader("a\n" + long + "\n" + long + "y\n" + long + long + long + "\nb\n\nc"))
	for _, want := range []string{"a", long, "too long", "too long", "b", "", "c"} {
		line, err := r.next()
		if want == "too long" {
			require.ErrorIs(t, err, errLineTooLong)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, string(line))
	}
	_, err := r.next()
	require.Equal(t, io.EOF, err)
}

func TestResultJSON(t *testing.T) {
	j := newJudge(load(t)[:2])
	require.True(t, j.hear(heard{line: []byte(`{"id":"form: ipv4 address","canonical":"203.0.113.5/32"}`)}))
	var members map[string]any
	require.NoError(t, json.Unmarshal(mustJSON(t, j.result()), &members))
	for _, list := range []string{"files", "failures", "unanswered", "faults"} {
		require.IsType(t, []any{}, members[list], "%s is a list, also where it is empty", list)
	}
	require.Equal(t, false, members["ok"])
	require.EqualValues(t, 1, members["passed"])
	require.EqualValues(t, 1, members["failed"])
}

func TestTail(t *testing.T) {
	var w tail
	for range 3 * tailLen / 8 {
		n, err := w.Write([]byte("12345678"))
		require.NoError(t, err)
		require.Equal(t, 8, n)
	}
	n, err := w.Write([]byte("end"))
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Len(t, w.String(), tailLen)
	require.True(t, strings.HasSuffix(w.String(), "5678end"))
	_, err = w.Write(bytes.Repeat([]byte("z"), 2*tailLen))
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("z", tailLen), w.String())
}
