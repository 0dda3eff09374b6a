package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/wholefile"
)

// PolicyFile is the name, in the data directory, of the policy that the lists
// there were accepted by. A start without policy flags goes on with it.
const PolicyFile = "policy.json"

// A storedPolicy is the content of that file.
type storedPolicy struct {
	AllowNonPublic bool `json:"allow_non_public"`
	MaxEntries     int  `json:"max_entries"`
	MinBits4       int  `json:"min_bits4"`
	MinBits6       int  `json:"min_bits6"`
}

func (c *Config) stored() storedPolicy {
	return storedPolicy{c.AllowNonPublic, c.MaxEntries, c.MinBits4, c.MinBits6}
}

// recallPolicy gives each policy flag that was not given the value of the start
// before. A file that cannot be read is an error: the defaults in its place
// could refuse what is stored.
func (c *Config) recallPolicy() error {
	path := filepath.Join(c.Data, PolicyFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || c.Given == nil {
		return nil
	}
	before := c.stored()
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil {
		return fmt.Errorf("%s: %w; remove the file and give the policy flags that you want", path, err)
	}
	recall := func(flag string, apply func()) {
		if !c.Given(flag) {
			apply()
		}
	}
	recall("allow-non-public", func() { c.AllowNonPublic = before.AllowNonPublic })
	recall("max-entries", func() { c.MaxEntries = before.MaxEntries })
	recall("min-bits4", func() { c.MinBits4 = before.MinBits4 })
	recall("min-bits6", func() { c.MinBits6 = before.MinBits6 })
	return nil
}

// keepPolicy stores the policy for the next start. The file is replaced whole.
func (c *Config) keepPolicy() error {
	path := filepath.Join(c.Data, PolicyFile)
	data, err := json.MarshalIndent(c.stored(), "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	if err := wholefile.Write(path, data); err != nil {
		return fmt.Errorf("keep the policy: %w", err)
	}
	return nil
}

// policyFlags are the flags that accept what has the code.
var policyFlags = map[ipallow.Code]string{
	ipallow.CodeNotPublic:      "--allow-non-public",
	ipallow.CodeTooManyEntries: "--max-entries",
	ipallow.CodeTooBroad:       "--min-bits4 or --min-bits6",
}

// flagsFor returns the flags that accept what a policy refuses.
func flagsFor(err error) string {
	var invalid *ipallow.ValidationError
	if !errors.As(err, &invalid) {
		return ""
	}
	var flags []string
	for _, e := range invalid.Entries {
		if f := policyFlags[e.Code]; f != "" && !slices.Contains(flags, f) {
			flags = append(flags, f)
		}
	}
	return strings.Join(flags, " and ")
}

// warnStored names the lists in force that the policy refuses: an earlier version
// accepted them, or the policy was made narrower.
func (s *Server) warnStored(ctx context.Context) {
	faults := s.Manager.StoredFaults()
	for _, f := range faults.Named {
		attrs := []any{"key", f.Key, "entries", f.Err, "flag", flagsFor(f.Err)}
		if key, err := s.Manager.Key(ctx, f.Key); err == nil {
			attrs = append(attrs, "name", key.Name)
		}
		s.logger.Warn("the allowlist of a key has entries that the policy refuses. It is in force as it was saved; to save it again, start with the flag or remove the entries", attrs...)
	}
	if more := faults.Total - len(faults.Named); more > 0 {
		s.logger.Warn("more keys have such allowlists", "keys", more)
	}
}
