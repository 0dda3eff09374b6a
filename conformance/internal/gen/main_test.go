package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFiles fails where the published files are not what this package
// writes: run "go generate" in the folder conformance.
func TestFiles(t *testing.T) {
	for name, want := range files() {
		got, err := os.ReadFile(filepath.Join("..", "..", name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), name)
	}
}

// TestEdges checks the arithmetic against edges worked out by hand.
func TestEdges(t *testing.T) {
	for _, c := range []struct {
		n                          network
		first, last, before, after string
	}{
		{newNetwork(24, 203, 0, 113, 0), "203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"},
		{newNetwork(32, 0, 0, 0, 0), "0.0.0.0", "0.0.0.0", "", "0.0.0.1"},
		{newNetwork(4, 240, 0, 0, 0), "240.0.0.0", "255.255.255.255", "239.255.255.255", ""},
		{newNetwork(0, 0, 0, 0, 0), "0.0.0.0", "255.255.255.255", "", ""},
		{
			newNetwork(65, 0x2001, 0xdb8, 0, 1, 0x8000, 0, 0, 0),
			"2001:db8:0:1:8000:0:0:0", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1:7fff:ffff:ffff:ffff", "2001:db8:0:2:0:0:0:0",
		},
		{
			newNetwork(8, 0xff00, 0, 0, 0, 0, 0, 0, 0),
			"ff00:0:0:0:0:0:0:0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "",
		},
	} {
		require.Equal(t, c.first, c.n.firstText())
		require.Equal(t, c.last, c.n.lastText())
		require.Equal(t, c.before, c.n.before())
		require.Equal(t, c.after, c.n.after())
	}
}

// TestASCII checks that the files are pure ASCII, so that no editor or
// transport changes a character that a case is about.
func TestASCII(t *testing.T) {
	for name, data := range files() {
		for i, b := range data {
			require.True(t, b == '\n' || b >= 0x20 && b < 0x7f, "%s: byte %#x at %d", name, b, i)
		}
	}
}
