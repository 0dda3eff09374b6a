package manage

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ipallow/ipallow"
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
// A list that would refuse addresses from which the key was served lately, or
// the caller's own, is saved only with ConfirmLockout; an empty list refuses
// nobody, and that of a key in report-only mode neither. The caller's own
// address counts if the key was used from it, or if the policy would accept
// it as an entry: an administrator on a loopback address is no client.
//
// A save that changes nothing succeeds, and leaves Tag, Updated and the audit
// trail as they are.
func (s *Service) SetAllowlist(ctx context.Context, by Actor, id string, e ListEdit) (Created, error) {
	if _, err := s.activeRow(ctx, id); err != nil {
		return Created{}, err
	}
	list, err := s.parseEntries(e.Entries)
	if err != nil {
		return Created{}, err
	}
	// Asking the usage log takes its time, so no other change waits for it.
	lockout, lockoutErr := s.lockout(ctx, by, id, list)
	if lockoutErr != nil && ctx.Err() != nil {
		return Created{}, lockoutErr
	}
	a := alteration{by: by, action: ActionList, id: id}
	a.alter = func(st *step, r *row) error {
		if e.IfMatch != "" && e.IfMatch != r.allowlist().Tag {
			return ErrConflict
		}
		if !r.reportOnly {
			if err := st.confirm(e.ConfirmLockout, lockout, lockoutErr); err != nil {
				return err
			}
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

// confirm returns what stands against a change that would lock somebody out,
// or about which nobody knows, unless it was confirmed.
func (st *step) confirm(confirmed bool, lockout *LockoutError, unknown error) error {
	switch {
	case lockout == nil && unknown == nil:
		return nil
	case confirmed:
		st.confirmed = true
		return nil
	case unknown != nil:
		return unknown
	}
	return lockout
}

// lockout says whom the list would lock out; nil: nobody.
func (s *Service) lockout(ctx context.Context, by Actor, id string, list []ipallow.Entry) (*LockoutError, error) {
	if len(list) == 0 {
		return nil, nil
	}
	seen, err := s.seenAddresses(ctx, id)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", ErrLockoutUnknown, err)
	}
	compiled := ipallow.Compile(list)
	caller := by.Addr.Unmap().WithZone("")
	used := false // by the caller
	out := new(LockoutError)
	for _, a := range seen {
		a.Caller = a.Addr == caller
		used = used || a.Caller
		if !compiled.Contains(a.Addr) {
			out.Addresses = append(out.Addresses, a)
			out.Caller = out.Caller || a.Caller
		}
	}
	if !used && s.isClient(caller) && !compiled.Contains(caller) {
		out.Addresses = append(out.Addresses[:min(len(out.Addresses), MaxSeen-1)], SeenAddress{Addr: caller, Caller: true})
		out.Caller = true
	}
	if len(out.Addresses) == 0 {
		return nil, nil
	}
	return out, nil
}

// isClient reports whether the policy accepts the address as an entry.
func (s *Service) isClient(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	entry := ipallow.Entry{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
	return s.engine.Policy().Validate([]ipallow.Entry{entry}) == nil
}
