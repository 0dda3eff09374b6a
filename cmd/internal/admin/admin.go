// Package admin keeps the administrator's token: the one secret that opens the
// management API and the settings page.
package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/wholefile"
)

// MinLen is the least length of a token that an operator chooses, in bytes.
// A shorter one could be guessed.
const MinLen = 20

// A Token compares what a caller shows with the administrator's token. The
// zero Token accepts nothing.
type Token struct {
	hash [sha256.Size]byte
	set  bool
}

// NewToken returns a Token that accepts text.
func NewToken(text string) (Token, error) {
	if len(text) < MinLen || len(text) > 1024 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Token{}, fmt.Errorf("a token must have %d to 1024 printable ASCII characters without spaces; leave the administrator's out to have one made", MinLen)
	}
	return Token{sha256.Sum256([]byte(text)), true}, nil
}

// Check reports whether text is the token, in a time that does not depend on
// where they differ.
func (t Token) Check(text string) bool {
	h := sha256.Sum256([]byte(text))
	return t.set && subtle.ConstantTimeCompare(h[:], t.hash[:]) == 1
}

// Name tells this token from others, to whom cannot guess it.
func (t Token) Name() string {
	h := sha256.Sum256(append([]byte("ipallowd token name"), t.hash[:]...))
	return hex.EncodeToString(h[:])
}

// Load returns the token in the file, which only its owner may read, and makes
// one of 256 random bits where there is no such file. It also returns the
// text, to show the operator where it was made.
func Load(file string) (t Token, text string, made bool, err error) {
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text, made = newText(), true
		if err := wholefile.Write(file, []byte(text+"\n")); err != nil {
			return Token{}, "", false, fmt.Errorf("administrator's token: %w", err)
		}
	case err != nil:
		return Token{}, "", false, fmt.Errorf("administrator's token: %w", err)
	default:
		t, text, err = parse(file, b)
		return t, text, false, err
	}
	t, err = NewToken(text)
	return t, text, made, err
}

// Read returns the token in a file that an operator made. The error is that of
// os.ReadFile, or says what is wrong with the file.
func Read(file string) (Token, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Token{}, err
	}
	t, _, err := parse(file, b)
	return t, err
}

func parse(file string, b []byte) (t Token, text string, err error) {
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o077 != 0 {
		return Token{}, "", fmt.Errorf("others than its owner can read the token in %s; run: chmod 600 %s", file, file)
	}
	text = strings.TrimSpace(string(b))
	if t, err = NewToken(text); err != nil {
		return Token{}, "", fmt.Errorf("%s: %w", file, err)
	}
	return t, text, nil
}

func newText() string {
	var b [32]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return "adm_" + base64.RawURLEncoding.EncodeToString(b[:])
}
