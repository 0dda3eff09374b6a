package manage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ipallow/ipallow/cmd/internal/canon"
)

// record adds a change to the audit trail, and to the outbox where there is
// one.
func (s *Service) record(st *step, by Actor, action Action, before, after *row) error {
	var was any // NULL
	if before != nil {
		was = before.state()
	}
	st.recorded = true
	st.digests += after.digest()
	if before != nil {
		st.digests -= before.digest()
	}
	err := st.exec(insertAudit,
		nanos(st.now), by.Name, by.addr(), string(action), after.id, after.name, was, after.state(), st.confirmed)
	if err == nil && s.outbox {
		st.outboxed = true
		err = st.exec("INSERT INTO outbox (key_id, created) VALUES (?, ?)", after.id, nanos(st.now))
	}
	return err
}

const insertAudit = `INSERT INTO audit (time, actor, addr, action, key_id, key_name, before, after, confirmed)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`

// addr returns the actor's address as it is stored.
func (a Actor) addr() string {
	if addr := canon.Addr(a.Addr); addr.IsValid() {
		return addr.String()
	}
	return ""
}

// NodeRemoved records that a node was taken off the list of the fleet. It is no
// change of a key, and so publishes nothing.
func (s *Service) NodeRemoved(ctx context.Context, by Actor, name string) error {
	err := s.write(ctx, func(st *step) error {
		return st.exec(insertAudit, nanos(st.now), by.Name, by.addr(), string(ActionNode), "", name, nil, "null", false)
	})
	if err == nil {
		s.log.Info("node removed", "node", name, "by", by.Name)
	}
	return err
}

// state returns the JSON of the row's AuditState.
func (r *row) state() string {
	a := AuditState{Name: r.name, Description: r.description, Scopes: r.scopes.Names(), ReportOnly: r.reportOnly,
		Revoked: r.revoked != 0, Allowlist: make([]ListEntry, len(r.list))}
	for i, e := range r.list {
		a.Allowlist[i] = ListEntry{Entry: e.String(), Label: e.Label}
	}
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // texts and booleans have no way to fail
	}
	return string(b)
}

// auditPageBytes ends a page early whose records are large: with a policy of
// 100,000 entries a list, one record has 10 MB.
const auditPageBytes = 4 << 20

// Audit returns a page of the audit trail, newest first. A KeyID that no key
// has gives an empty page.
func (s *Service) Audit(ctx context.Context, q AuditQuery) (AuditPage, error) {
	db, err := s.read()
	if err != nil {
		return AuditPage{}, err
	}
	limit := pageSize(q.Limit)
	where := []string{"1"}
	var args []any
	if q.KeyID != "" {
		where = append(where, "key_id = ?")
		args = append(args, q.KeyID)
	}
	if q.Cursor != "" {
		id, err := parseAuditCursor(q.Cursor)
		if err != nil {
			return AuditPage{}, err
		}
		where = append(where, "id < ?")
		args = append(args, id)
	}
	rows, err := db.QueryContext(ctx, `SELECT id, time, actor, addr, action, key_id, key_name, before, after, confirmed
		FROM audit WHERE `+strings.Join(where, " AND ")+" ORDER BY id DESC LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return AuditPage{}, err
	}
	defer rows.Close()
	page := AuditPage{Records: []AuditRecord{}}
	var size int
	for rows.Next() {
		if n := len(page.Records); n == limit || size > auditPageBytes {
			page.Next = auditCursor(page.Records[n-1].ID)
			break
		}
		rec, n, err := scanAudit(rows)
		if err != nil {
			return AuditPage{}, err
		}
		size += n
		page.Records = append(page.Records, rec)
	}
	return page, rows.Err()
}

// scanAudit returns a record and the size of its states in bytes.
func scanAudit(sc scanner) (rec AuditRecord, size int, err error) {
	var at int64
	var addr string
	var before, after []byte
	if err := sc.Scan(&rec.ID, &at, &rec.Actor, &addr, &rec.Action, &rec.KeyID, &rec.KeyName,
		&before, &after, &rec.Confirmed); err != nil {
		return rec, 0, err
	}
	rec.Time = fromNanos(at)
	if addr != "" {
		rec.Addr, err = netip.ParseAddr(addr)
	}
	if err == nil && before != nil {
		err = json.Unmarshal(before, &rec.Before)
	}
	if err == nil {
		err = json.Unmarshal(after, &rec.After)
	}
	if err != nil {
		err = fmt.Errorf("audit record %d: %w: %w", rec.ID, err, ErrDamaged)
	}
	return rec, len(before) + len(after), err
}
