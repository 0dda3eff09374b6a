package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestToken(t *testing.T) {
	var zero Token
	require.False(t, zero.Check(""), "the zero Token accepts nothing")
	good := strings.Repeat("x", MinLen)
	token, err := NewToken(good)
	require.NoError(t, err)
	require.True(t, token.Check(good))
	for _, text := range []string{"", good[1:], good + "x", strings.ToUpper(good)} {
		require.False(t, token.Check(text), "%q", text)
	}
	for _, text := range []string{"", good[1:], good + " ", good + "\n", good + "é", strings.Repeat("x", 1025)} {
		_, err := NewToken(text)
		require.Error(t, err, "%q", text)
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "admin-token")
	token, text, made, err := Load(file)
	require.NoError(t, err)
	require.True(t, made)
	require.True(t, token.Check(text))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())

	again, text2, made, err := Load(file)
	require.NoError(t, err)
	require.False(t, made)
	require.Equal(t, text, text2)
	require.True(t, again.Check(text))

	other, text3, _, err := Load(filepath.Join(t.TempDir(), "admin-token"))
	require.NoError(t, err)
	require.NotEqual(t, text, text3)
	require.False(t, other.Check(text))

	require.NoError(t, os.Chmod(file, 0o644))
	_, _, _, err = Load(file)
	require.ErrorContains(t, err, "chmod 600")

	require.NoError(t, os.Chmod(file, 0o600))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, _, err = Load(file)
	require.ErrorContains(t, err, "20 to 1024", "an empty file opens nothing")
}
