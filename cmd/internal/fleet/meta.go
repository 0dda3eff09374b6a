package fleet

import (
	"errors"
	"fmt"

	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// A Meta is what the bucket has of a key beside its list, 34 bytes:
//
//	version 1 | hash of the secret 32 | flags 1
//
// The flags are the scopes, and reportFlag. There is exactly one encoding of a
// key. natsfeed's checksum covers it.
const (
	metaVersion = 1
	metaSize    = 1 + len(keyring.Hash{}) + 1

	scopeFlags = byte(keyring.Read | keyring.Write)
	reportFlag = 1 << 7
)

// ErrMeta says that a Meta cannot be read.
var ErrMeta = errors.New("what the bucket has of the key beside its list cannot be read; update the older of management and gateway")

// EncodeMeta returns the Meta of a key.
func EncodeMeta(k *keyring.Key) []byte {
	b := append(make([]byte, 0, metaSize), metaVersion)
	b = append(b, k.Hash[:]...)
	flags := byte(k.Scopes) & scopeFlags
	if k.ReportOnly {
		flags |= reportFlag
	}
	return append(b, flags)
}

// DecodeMeta returns the key with this identifier and Meta. The error wraps
// ErrMeta.
func DecodeMeta(id string, meta []byte) (*keyring.Key, error) {
	switch {
	case !keyring.ValidID(id):
		return nil, fmt.Errorf("%w (%.40q is no key's identifier)", ErrMeta, id)
	case len(meta) == 0 || meta[0] != metaVersion:
		return nil, fmt.Errorf("%w (it has %d bytes and no known version)", ErrMeta, len(meta))
	case len(meta) != metaSize:
		return nil, fmt.Errorf("%w (it has %d bytes and should have %d)", ErrMeta, len(meta), metaSize)
	}
	flags := meta[metaSize-1]
	if flags&^(scopeFlags|reportFlag) != 0 || flags&scopeFlags == 0 {
		return nil, fmt.Errorf("%w (its flags are %#x)", ErrMeta, flags)
	}
	return &keyring.Key{
		ID: id, Hash: keyring.Hash(meta[1 : metaSize-1]),
		Scopes: keyring.Scopes(flags & scopeFlags), ReportOnly: flags&reportFlag != 0,
	}, nil
}
