package keyring

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"strings"
)

// A token is what a client sends: Prefix, the key's identifier, "_" and the
// secret, such as ipk_4kq2m7xw3n5tzr6c_4xN8…. The identifier is public and
// stands in logs and lists; the secret is 256 random bits in base64url.
const (
	Prefix    = "ipk_"
	IDLen     = 16 // base32 digits of 80 random bits
	SecretLen = 43 // base64url digits of 256 random bits
	TokenLen  = len(Prefix) + IDLen + 1 + SecretLen
)

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// A Hash is the SHA-256 of a secret. A secret of 256 random bits needs no salt
// and no slow hash: there is nothing to guess.
type Hash [sha256.Size]byte

// NewID returns a random identifier.
func NewID() string {
	var b [IDLen * 5 / 8]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return idEncoding.EncodeToString(b[:])
}

// ValidID reports whether id has the form that NewID gives.
func ValidID(id string) bool {
	if len(id) != IDLen {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// NewSecret returns a random secret and its hash. The secret is shown once and
// kept nowhere.
func NewSecret() (secret string, hash Hash) {
	var b [sha256.Size]byte
	rand.Read(b[:])
	secret = base64.RawURLEncoding.EncodeToString(b[:])
	return secret, HashSecret(secret)
}

// HashSecret returns the hash under which a secret is stored.
func HashSecret(secret string) Hash {
	var b [SecretLen]byte // on the stack, which a conversion this long is not
	return sha256.Sum256(append(b[:0], secret...))
}

// Token joins an identifier and a secret to what the client sends.
func Token(id, secret string) string { return Prefix + id + "_" + secret }

// ParseToken splits a token. It fails for whatever Token cannot have made.
func ParseToken(token string) (id, secret string, ok bool) {
	rest, found := strings.CutPrefix(token, Prefix)
	if !found || len(token) != TokenLen || rest[IDLen] != '_' || !ValidID(rest[:IDLen]) {
		return "", "", false
	}
	return rest[:IDLen], rest[IDLen+1:], true
}

// MaxForeignLen is the length of the longest token of another system's form, in bytes.
const MaxForeignLen = 512

// ForeignID returns the identifier of a key that was made elsewhere, of the SHA-256 of
// its whole token: the hash's first 80 bits. So the key of a token of any form is found
// without a second index, and every gateway finds it. Danger: the identifier is public,
// and whoever knows it can try guesses of the token against it. There must be nothing
// to guess: 128 random bits, as for a secret.
func ForeignID(hash Hash) string { return idEncoding.EncodeToString(hash[:IDLen*5/8]) }

// parseForeign returns the hash of a token that Token has not made. It fails for what
// cannot be one of a header: RFC 6750, section 2.1, has no spaces, and nobody has
// characters beyond printable ASCII.
func parseForeign(token string) (hash Hash, ok bool) {
	if token == "" || len(token) > MaxForeignLen {
		return hash, false
	}
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c > '~' {
			return hash, false
		}
	}
	var b [MaxForeignLen]byte
	return sha256.Sum256(append(b[:0], token...)), true
}
