package natsfeed

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ipallow/ipallow"
)

// MaxName is the length of the longest name that a key has in a bucket, in
// bytes: three for each byte of the longest key. A subject of that length
// passes a server's default limit of 4096 bytes for a protocol line.
const MaxName = 3 * ipallow.MaxKeyLen

// Reserved names are no key's: in a key's name, two hexadecimal digits in upper
// case follow an equals sign. Confirm writes under the one; under the other a
// publisher may say who it is, which feeds count and do not read.
const (
	reservedConfirm = "=confirm"
	reservedOwner   = "=owner"
)

func isReserved(name string) bool { return name == reservedConfirm || name == reservedOwner }

// ErrName says that a name in a bucket is not one that [KeyName] makes.
var ErrName = errors.New("natsfeed: the name is not that of a key; write values with Publish, which names them")

const upperHex = "0123456789ABCDEF"

// KeyName returns the name that a key has in a bucket. Letters, digits and
// - / _ stand for themselves, and so does a dot between two other characters;
// every other byte is an equals sign and two hexadecimal digits in upper
// case, so that "ipk_7.x" stays and "a b" becomes "a=20b". No two keys have
// the same name, and [NameKey] finds the key again.
//
// The error wraps [ipallow.ErrKeyLength].
func KeyName(key string) (string, error) {
	if len(key) < 1 || len(key) > ipallow.MaxKeyLen {
		return "", fmt.Errorf("natsfeed: %w; this one has %d", ipallow.ErrKeyLength, len(key))
	}
	escapes := 0
	for i := range len(key) {
		if !plain(key, i) {
			escapes++
		}
	}
	if escapes == 0 {
		return key, nil
	}
	var b strings.Builder
	b.Grow(len(key) + 2*escapes)
	for i := range len(key) {
		c := key[i]
		if plain(key, i) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('=')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
	return b.String(), nil
}

// plain reports whether the i-th byte of the key stands for itself.
func plain(key string, i int) bool {
	switch c := key[i]; {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '/', c == '_':
		return true
	case c == '.':
		// NATS takes no dot at either end and none beside another.
		return i > 0 && i < len(key)-1 && key[i-1] != '.'
	}
	return false
}

// NameKey returns the key that has the name in a bucket. It accepts only what
// KeyName returns: a name that another tool has chosen gives an error that
// wraps [ErrName].
func NameKey(name string) (string, error) {
	if len(name) == 0 || len(name) > MaxName {
		return "", fmt.Errorf("%w: it has %d bytes and may have 1 to %d", ErrName, len(name), MaxName)
	}
	key := name
	if strings.IndexByte(name, '=') >= 0 {
		b := make([]byte, 0, len(name))
		for i := 0; i < len(name); i++ {
			if name[i] != '=' {
				b = append(b, name[i])
				continue
			}
			if i+2 >= len(name) {
				return "", badName(name)
			}
			hi, lo := strings.IndexByte(upperHex, name[i+1]), strings.IndexByte(upperHex, name[i+2])
			if hi < 0 || lo < 0 {
				return "", badName(name)
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		}
		key = string(b)
	}
	if again, err := KeyName(key); err != nil || again != name {
		return "", badName(name)
	}
	return key, nil
}

func badName(name string) error { return fmt.Errorf("%w: %s", ErrName, quote(name)) }

// quote quotes a text, cut after 64 bytes, so that it can stand in a log.
func quote(s string) string {
	if len(s) <= 64 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q...", s[:64])
}
