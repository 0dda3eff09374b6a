package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
)

// Create makes a key. All faults of the fields and of the list are in the
// error; see [Faults].
func (s *Service) Create(ctx context.Context, by Actor, k NewKey) (Created, error) {
	r, err := s.parseKey(k)
	if err != nil {
		return Created{}, err
	}
	secret := r.identify()
	err = s.writeRoomy(ctx, func(st *step) error {
		if s.active >= s.maxKeys {
			return ErrTooManyKeys
		}
		r.begin(st)
		if err := s.insert(st, by, r); err != nil {
			return err
		}
		if len(r.list) > 0 {
			// Before the commit, for it can fail; nobody knows the key yet.
			if err := s.engineError(s.engine.Set(r.id, r.list)); err != nil {
				return err
			}
			st.undo = func() { s.engine.Delete(r.id) }
		}
		st.apply = func() error {
			s.ring.Put(r.ringKey())
			s.active++
			return nil
		}
		return nil
	})
	if err != nil {
		return Created{}, err
	}
	s.log.Info("key created", "key", r.id, "by", by.Name, "entries", len(r.list))
	return r.answer(keyring.Token(r.id, secret)), nil
}

// identify gives a row an identifier and a secret, which it returns.
func (r *row) identify() (secret string) {
	r.id = keyring.NewID()
	secret, r.hash = keyring.NewSecret()
	return secret
}

// begin sets the times of a new key.
func (r *row) begin(st *step) {
	r.created = nanos(st.now)
	r.updated = r.created
	if len(r.list) > 0 {
		r.version, r.listUpdated = 1, r.created
	}
}

func (r *row) answer(token string) Created {
	return Created{Key: r.key(), Token: token, List: r.allowlist(), Warnings: ipallow.Warnings(r.list)}
}

func (s *Service) insert(st *step, by Actor, r *row) error {
	if err := st.exec(insertRow, r.values()...); err != nil {
		return err
	}
	return s.record(st, by, ActionCreate, nil, r)
}

// engineError returns the package's error for one of the engine.
func (s *Service) engineError(err error) error {
	if errors.Is(err, ipallow.ErrTooManyKeys) {
		return fmt.Errorf("%w: %w", ErrTooManyKeys, err)
	}
	return err
}

// An alteration is a change of a key that exists. The function alters the row,
// and returns an error if it must not be.
type alteration struct {
	by     Actor
	action Action
	id     string
	alter  func(st *step, r *row) error
}

// change makes an alteration and returns the row as it is afterwards. One
// that alters nothing leaves no trace.
func (s *Service) change(ctx context.Context, a alteration) (*row, error) {
	var before, after *row
	err := s.write(ctx, func(st *step) error {
		var err error
		if before, err = readRow(st.ctx, st, a.id); err != nil {
			return err
		}
		if before.revoked != 0 {
			return ErrRevoked
		}
		r := *before
		if err := a.alter(st, &r); err != nil {
			return err
		}
		after = &r
		if r.equal(before) {
			return nil
		}
		r.updated = nanos(st.now)
		if err := st.exec(updateRow, r.values()...); err != nil {
			return err
		}
		if err := s.record(st, a.by, a.action, before, &r); err != nil {
			return err
		}
		return s.prepare(st, before, &r)
	})
	if err != nil {
		return nil, err
	}
	if !after.equal(before) {
		s.log.Info("key changed", "action", a.action, "key", a.id, "by", a.by.Name)
	}
	after.lastUsed = max(after.lastUsed, s.lastMark(a.id))
	return after, nil
}

func (r *row) equal(o *row) bool {
	return r.name == o.name && r.description == o.description && r.hash == o.hash && r.scopes == o.scopes &&
		r.reportOnly == o.reportOnly && r.revoked == o.revoked && slices.Equal(r.list, o.list)
}

// prepare says what of a change must be done in the engine and the ring.
func (s *Service) prepare(st *step, before, after *row) error {
	id := after.id
	if after.revoked != 0 {
		// The list stays for a while, for requests that are authenticated
		// already: they must not find an unrestricted key.
		st.apply = func() error {
			s.ring.Remove(id)
			s.active--
			delete(s.used, id)
			if len(before.list) > 0 {
				s.retired = append(s.retired, retiredKey{id, st.now})
			}
			return nil
		}
		return nil
	}
	if slices.Equal(before.list, after.list) {
		st.apply = func() error {
			s.ring.Put(after.ringKey())
			return nil
		}
		return nil
	}
	// The one way for an engine to refuse a list that its policy accepts is
	// that it has no room for one more. So the place is taken before the
	// commit, under a key that no request can have.
	place := "\x00" + id
	if len(before.list) == 0 {
		if err := s.engineError(s.engine.Set(place, after.list)); err != nil {
			return err
		}
		st.undo = func() { s.engine.Delete(place) }
	}
	st.apply = func() error {
		err := s.engine.Update(func(tx *ipallow.Tx) error {
			tx.Delete(place)
			return tx.Set(id, after.list)
		})
		if err != nil {
			s.ring.Remove(id) // rather refused than measured by another list
			return fmt.Errorf("the change is stored but not in force, and the key is refused until the next start: %w", err)
		}
		return nil
	}
	return nil
}

// Edit changes a key's fields. An edit that changes nothing leaves no trace.
// If the key's list has only been watched and is enforced from now on,
// lock-outs are looked at as SetAllowlist does, after the faults.
func (s *Service) Edit(ctx context.Context, by Actor, id string, e KeyEdit) (Key, error) {
	for {
		k, err := s.edit(ctx, by, id, e)
		if !errors.Is(err, errMoved) {
			return k, err
		}
	}
}

// errMoved says that the list changed while lock-outs were looked at.
var errMoved = errors.New("the list has changed meanwhile")

func (s *Service) edit(ctx context.Context, by Actor, id string, e KeyEdit) (Key, error) {
	now, err := s.activeRow(ctx, id)
	if err != nil {
		return Key{}, err
	}
	var name, description string
	var scopes keyring.Scopes
	var errs [3]error
	if e.Name != nil {
		name, errs[0] = cleanName(*e.Name)
	}
	if e.Description != nil {
		description, errs[1] = cleanDescription(*e.Description)
	}
	if e.Scopes != nil {
		scopes, errs[2] = parseScopes(*e.Scopes)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return Key{}, err
	}
	enforces := e.ReportOnly != nil && !*e.ReportOnly
	var lockout *LockoutError
	var unknown error
	if enforces {
		lockout, unknown = s.lockout(ctx, by, id, now.rule(), rule{list: now.list})
		if unknown != nil && ctx.Err() != nil {
			return Key{}, unknown
		}
	}
	r, err := s.change(ctx, alteration{by: by, action: ActionEdit, id: id, alter: func(st *step, r *row) error {
		if enforces && r.reportOnly {
			if !now.reportOnly || r.version != now.version {
				return errMoved
			}
			if err := st.confirm(e.ConfirmLockout, lockout, unknown); err != nil {
				return err
			}
		}
		if e.Name != nil {
			r.name = name
		}
		if e.Description != nil {
			r.description = description
		}
		if e.Scopes != nil {
			r.scopes = scopes
		}
		if e.ReportOnly != nil {
			r.reportOnly = *e.ReportOnly
		}
		return nil
	}})
	if err != nil {
		return Key{}, err
	}
	return r.key(), nil
}

// Rotate gives the key a new secret. The old one is refused by all requests
// that begin when Rotate has returned.
func (s *Service) Rotate(ctx context.Context, by Actor, id string) (Created, error) {
	secret, hash := keyring.NewSecret()
	r, err := s.change(ctx, alteration{by: by, action: ActionRotate, id: id, alter: func(_ *step, r *row) error {
		r.hash = hash
		return nil
	}})
	if err != nil {
		return Created{}, err
	}
	return r.answer(keyring.Token(id, secret)), nil
}

// Revoke ends the key. It is unknown to all requests that begin when Revoke
// has returned; one that was authenticated before is still measured by its
// list. A key that is revoked already is ErrRevoked.
func (s *Service) Revoke(ctx context.Context, by Actor, id string) error {
	_, err := s.change(ctx, alteration{by: by, action: ActionRevoke, id: id, alter: func(st *step, r *row) error {
		r.revoked = nanos(st.now)
		if mark := s.lastMark(id); mark > r.lastUsed {
			return st.exec(setUsed, id, mark)
		}
		return nil
	}})
	return err
}

// activeRow reads a key outside of a change.
func (s *Service) activeRow(ctx context.Context, id string) (*row, error) {
	db, err := s.read()
	if err != nil {
		return nil, err
	}
	r, err := readRow(ctx, db, id)
	if err == nil && r.revoked != 0 {
		err = ErrRevoked
	}
	return r, err
}
