package ipallow

import (
	"fmt"

	"github.com/ipallow/ipallow/internal/index"
)

// A Tx collects the changes of one [Engine.Update]. It belongs to the
// goroutine that the function runs in and is of no use after the function
// has returned. The nil Tx and the zero one refuse everything.
type Tx struct {
	policy Policy
	batch  index.Batch
	buf    []index.Entry // scratch
	err    error         // the first failure of a Set
	open   bool
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
	tx.batch.Set(key, nil)
}

// set is Set with the fault alone as its error.
func (tx *Tx) set(key string, entries []Entry) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if tx.buf == nil {
		tx.buf = make([]index.Entry, 0, max(len(entries), 1))
	}
	canonical, err := tx.policy.canonical(entries, tx.buf[:0])
	if err != nil {
		return err
	}
	tx.buf = canonical
	tx.batch.Set(key, canonical)
	return nil
}

func (tx *Tx) close() { tx.open = false }

func checkKey(key string) error {
	if !index.ValidKey(len(key)) {
		return fmt.Errorf("%w; this one has %d", ErrKeyLength, len(key))
	}
	return nil
}
