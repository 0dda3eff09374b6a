package ipallow

import "fmt"

// A Tx collects the changes of one [Engine.Update]. It belongs to the
// goroutine that the function runs in and is of no use after the function
// has returned. The nil Tx and the zero one refuse everything.
type Tx struct {
	policy Policy
	cache  *compileCache
	hash   hasher

	ops   []op
	byKey map[string]int // index in ops, from the second op on
	arena []byte         // records
	buf   []Entry        // scratch
	err   error          // the first failure of a Set
	open  bool
}

// Set gives key the list of entries when the update is done. The last call
// for a key counts. An error is a [*KeyError] around what [Engine.Set] would
// return; the update fails with the first of them.
func (tx *Tx) Set(key string, entries []Entry) error {
	if tx == nil || !tx.open {
		return ErrTxDone
	}
	if err := tx.set(key, entries); err != nil {
		err = &KeyError{Key: key, Err: err}
		if tx.err == nil {
			tx.err = err
		}
		return err
	}
	return nil
}

// Delete removes the list of key when the update is done.
func (tx *Tx) Delete(key string) {
	if tx == nil || !tx.open || checkKey(key) != nil {
		return
	}
	tx.put(op{key: key, hash: tx.hash.string(key)})
}

// set is Set with the fault alone as its error.
func (tx *Tx) set(key string, entries []Entry) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if tx.buf == nil {
		tx.buf = make([]Entry, 0, max(len(entries), 1))
	}
	canonical, err := tx.policy.canonical(entries, tx.buf[:0])
	if err != nil {
		return err
	}
	tx.buf = canonical
	o := op{key: key, hash: tx.hash.string(key)}
	if len(canonical) > 0 {
		o.item, tx.arena = appendItem(tx.arena, key, o.hash, canonical, tx.cache)
	}
	tx.put(o)
	return nil
}

func (tx *Tx) put(o op) {
	if len(tx.ops) == 0 {
		tx.ops = append(tx.ops, o)
		return
	}
	if tx.byKey == nil {
		tx.byKey = map[string]int{tx.ops[0].key: 0}
	}
	if i, ok := tx.byKey[o.key]; ok {
		tx.ops[i] = o
		return
	}
	tx.byKey[o.key] = len(tx.ops)
	tx.ops = append(tx.ops, o)
}

func (tx *Tx) close() { tx.open = false }

// validKey reports whether a key of n bytes can have a list.
func validKey(n int) bool { return uint(n-1) < MaxKeyLen }

func checkKey(key string) error {
	if !validKey(len(key)) {
		return fmt.Errorf("%w; this one has %d", ErrKeyLength, len(key))
	}
	return nil
}
