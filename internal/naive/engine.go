package naive

import (
	"maps"
	"net/netip"
)

// The verdicts, in the engine's words.
const (
	Denied       = "denied"
	Allowed      = "allowed"
	Unrestricted = "unrestricted"
)

// MaxKeyLen is the length of the longest key in bytes.
const MaxKeyLen = 1024

// An Engine is a map from keys to lists. Each method is one step.
type Engine struct {
	Policy  Policy
	MaxKeys int
	Loaded  bool // false until the first Replace of an engine that waits for it
	Lists   map[string][]Entry
}

// A Change gives Key the list Entries; an empty one removes its list. Delete
// is a change of its own because a key that cannot have a list can still be
// deleted, which does nothing.
type Change struct {
	Key     string
	Entries []Entry
	Delete  bool
}

// Clone returns a copy that later steps do not change.
func (e *Engine) Clone() *Engine {
	c := *e
	c.Lists = maps.Clone(e.Lists)
	return &c
}

// Set is Update with one change.
func (e *Engine) Set(key string, entries []Entry) bool {
	return e.Update([]Change{{Key: key, Entries: entries}})
}

// Delete removes the list of key.
func (e *Engine) Delete(key string) { delete(e.Lists, key) }

// Update makes all changes, in order, and reports true; or, if one of them
// cannot be made, none.
func (e *Engine) Update(changes []Change) bool {
	return e.apply(maps.Clone(e.Lists), changes)
}

// Replace makes the changes to an empty map. A key that is given two lists
// is a fault.
func (e *Engine) Replace(changes []Change) bool {
	given := map[string]bool{}
	for _, c := range changes {
		if given[c.Key] {
			return false
		}
		given[c.Key] = true
	}
	if !e.apply(nil, changes) {
		return false
	}
	e.Loaded = true
	return true
}

func (e *Engine) apply(lists map[string][]Entry, changes []Change) bool {
	if lists == nil {
		lists = map[string][]Entry{}
	}
	for _, c := range changes {
		if c.Delete {
			delete(lists, c.Key)
			continue
		}
		entries, faults := e.Policy.Validate(c.Entries)
		if len(faults) > 0 || c.Key == "" || len(c.Key) > MaxKeyLen {
			return false
		}
		if len(entries) == 0 {
			delete(lists, c.Key)
		} else {
			lists[c.Key] = entries
		}
	}
	if len(lists) > e.MaxKeys {
		return false
	}
	e.Lists = lists
	return true
}

// Check returns the verdict.
func (e *Engine) Check(key string, addr netip.Addr) string {
	list, ok := e.Lists[key]
	switch {
	case !e.Loaded, key == "", len(key) > MaxKeyLen:
		return Denied
	case !ok:
		return Unrestricted
	case Contains(list, addr):
		return Allowed
	}
	return Denied
}
