package usagelog

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// A MemoryStore keeps records in memory, for tests and for servers that need
// no history beyond their own life. It is a correct Store in everything but
// durability. All methods may be called from any number of goroutines at once.
type MemoryStore struct {
	limit int

	mu   sync.RWMutex
	recs []Record // oldest first, by Position, no ID twice
	ids  map[RecordID]struct{}
}

// NewMemoryStore returns an empty store. It keeps the newest limit records, by
// Time, and forgets older ones; 0 or less means that it keeps all. A record
// takes about 250 bytes and its texts.
func NewMemoryStore(limit int) *MemoryStore {
	return &MemoryStore{limit: limit, ids: make(map[RecordID]struct{})}
}

// Len returns the number of records kept.
func (s *MemoryStore) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.recs)
}

// Append implements Store. A record older than all the others costs time
// proportional to their number.
func (s *MemoryStore) Append(ctx context.Context, records []Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range records {
		if records[i].ID.IsZero() {
			return fmt.Errorf("%w: record %d of the batch has no ID; records come from a Writer", ErrRejected, i)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range records {
		r := &records[i]
		if _, ok := s.ids[r.ID]; ok {
			continue
		}
		s.ids[r.ID] = struct{}{}
		at := len(s.recs)
		if at > 0 && s.recs[at-1].Position().Compare(r.Position()) > 0 {
			at = s.search(r.Position())
		}
		s.recs = slices.Insert(s.recs, at, *r)
		if s.limit > 0 && len(s.recs) > s.limit {
			delete(s.ids, s.recs[0].ID)
			s.recs[0] = Record{} // let its texts go
			s.recs = s.recs[1:]
		}
	}
	return nil
}

// search returns the number of records older than p.
func (s *MemoryStore) search(p Position) int {
	i, _ := slices.BinarySearchFunc(s.recs, p, func(r Record, p Position) int {
		return r.Position().Compare(p)
	})
	return i
}

// Query implements Store. It looks at records from the newest until the page
// is full, so a filter that matches little reads much.
func (s *MemoryStore) Query(ctx context.Context, q Query) (Page, error) {
	limit, after, err := q.Plan()
	if err != nil {
		return Page{}, err
	}
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := len(s.recs)
	if after != nil {
		i = s.search(*after)
	}
	var page Page
	for i--; i >= 0; i-- {
		r := &s.recs[i]
		if !q.From.IsZero() && r.Time.Before(q.From) {
			break
		}
		if !q.Match(r) {
			continue
		}
		if len(page.Records) == limit {
			page.Next = page.Records[limit-1].Position().Cursor()
			break
		}
		page.Records = append(page.Records, *r)
	}
	return page, nil
}

// Stream implements Store.
func (s *MemoryStore) Stream(ctx context.Context, f Filter) iter.Seq2[Record, error] {
	return StreamPages(ctx, f, s.Query)
}
