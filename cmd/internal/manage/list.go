package manage

import (
	"context"
	"errors"
	"slices"
)

// Allowlist returns the key's list, that of a revoked key too.
func (s *Service) Allowlist(ctx context.Context, id string) (Allowlist, error) {
	db, err := s.read()
	if err != nil {
		return Allowlist{}, err
	}
	r, err := readRow(ctx, db, id)
	if err != nil {
		return Allowlist{}, err
	}
	return r.allowlist(), nil
}

// SetAllowlist replaces the list. What is looked at comes in this order: the
// key, the faults of the list, IfMatch, lock-outs.
//
// A list is saved only with ConfirmLockout if it would refuse an address that
// the list in force serves and from which the key was served lately, or that is
// the caller's own. An empty list refuses nobody, and that of a key in
// report-only mode neither. The caller's own address counts if the key was used
// from it, or if the policy would accept it as an entry: an administrator on a
// loopback address is no client.
//
// A save that changes nothing succeeds, and leaves Tag, Updated and the audit
// trail as they are.
func (s *Service) SetAllowlist(ctx context.Context, by Actor, id string, e ListEdit) (Created, error) {
	for {
		c, err := s.setAllowlist(ctx, by, id, e)
		if !errors.Is(err, errMoved) {
			return c, err
		}
	}
}

func (s *Service) setAllowlist(ctx context.Context, by Actor, id string, e ListEdit) (Created, error) {
	now, err := s.activeRow(ctx, id)
	if err != nil {
		return Created{}, err
	}
	list, err := s.parseEntries(e.Entries)
	if err != nil {
		return Created{}, err
	}
	// Asking the usage log takes its time, so no other change waits for it.
	lockout, unknown := s.lockout(ctx, by, id, now.rule(), rule{list, now.reportOnly})
	if unknown != nil && ctx.Err() != nil {
		return Created{}, unknown
	}
	a := alteration{by: by, action: ActionList, id: id}
	a.alter = func(st *step, r *row) error {
		if e.IfMatch != "" && e.IfMatch != r.allowlist().Tag {
			return ErrConflict
		}
		if r.version != now.version || r.reportOnly != now.reportOnly {
			return errMoved
		}
		if err := st.confirm(e.ConfirmLockout, lockout, unknown); err != nil {
			return err
		}
		if !slices.Equal(r.list, list) {
			r.list = list
			r.version++
			r.listUpdated = nanos(st.now)
		}
		return nil
	}
	r, err := s.change(ctx, a)
	if err != nil {
		return Created{}, err
	}
	return r.answer(""), nil
}
