package gateway

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzHasDots compares hasDots with what upstreams do to a path: however one of
// them decodes and cleans it, a path without dots stays below the base.
func FuzzHasDots(f *testing.F) {
	for _, seed := range []string{
		"/v1/things",        // nothing to find
		"/..", "/a/../../b", // the plain way out
		"/a/..b", "/...", "/.a", // dots that are names
		`/a\..\..\b`,             // backslashes, as Windows and some frameworks read them
		"/a/..;x=1/b", "/a/.;/b", // parameters, as servlet containers read them
		"/%2e%2e/b", "/a/%2E./b", // a second decoding
		"/a%2f..%2fb", "/a%5c..", // separators that a second decoding makes
		"/a/..%3bx/b", "/a/..%3B", // and parameters
		"//..//a", "/a//../b", "", // empty segments
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, decoded string) {
		if !strings.HasPrefix(decoded, "/") || hasDots(decoded) {
			return
		}
		for _, read := range readings(decoded) {
			if cleaned := path.Clean("/base" + read); cleaned != "/base" && !strings.HasPrefix(cleaned, "/base/") {
				t.Fatalf("%q passes, and read as %q becomes %q", decoded, read, cleaned)
			}
		}
	})
}

// readings are the ways in which an upstream may read a path that was decoded once.
func readings(decoded string) (all []string) {
	twice := decoded
	if again, err := url.PathUnescape(decoded); err == nil {
		twice = again
	}
	for _, p := range []string{decoded, twice} {
		slashes := strings.ReplaceAll(p, `\`, "/")
		all = append(all, p, slashes, withoutParameters(p), withoutParameters(slashes))
	}
	return all
}

func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// The names that pass are as important: an API's own are not refused.
func TestDotsInNames(t *testing.T) {
	for _, p := range []string{"/", "/a.b", "/.well-known/x", "/...", "/..a", "/a..", "/a;b=..", "/%", "/%2", "/%2f", "/%2e%2e%2e", "/100%..", "/a.;b"} {
		require.False(t, hasDots(p), p)
	}
}
