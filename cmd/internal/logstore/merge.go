package logstore

import (
	"database/sql"
	"errors"
	"slices"
	"time"
)

// classLimits are the sizes up to which a block is merged with others: when
// those of a class have together as many records as the limit, they become one.
// So there are fewer than 16 blocks of the first class, 8 of the second and 16 of
// the third, and a record is written 4 times at most.
var classLimits = [...]int{16, 128, blockRecords}

const (
	// blockRecords is where merging ends. A merged block has fewer than twice
	// as many. Fewer would make more rows to look through for a rare key, more
	// would write each record of a busy server, which come in batches of up to
	// 4096, once more.
	blockRecords = 2048

	// batchRecords is the most of one batch that becomes one block.
	batchRecords = 4096

	classes = len(classLimits)
)

// classOf returns the class of a block of n records, or classes when it is not
// merged any more.
func classOf(n int) int {
	class := 0
	for class < classes && n >= classLimits[class] {
		class++
	}
	return class
}

// laneOf returns the lane of a record that is older than the newest of its
// batch by this time. The time of a record is when its request arrived, and
// it comes when it was answered: an hour later, when it was a long one. In a
// block with others it would make the block cover that hour, and a query for
// any moment of the hour would have to read all such blocks. So records that
// come a minute late are merged among themselves, and so are those that come 16
// minutes, 4 hours, 3 days late.
func laneOf(late int64) int {
	lane := 0
	for limit := int64(60e9); lane < 4 && late >= limit; limit *= 16 {
		lane++
	}
	return lane
}

// put writes the entries as blocks, merging them with small ones.
func (w *writer) put(entries []entry, cutoff int64) error {
	sortEntries(entries)
	newest := entries[0].ns
	for len(entries) > 0 {
		late := laneOf(newest - entries[0].ns)
		lane := int(w.node)*nodeLanes + late
		n := 1
		for n < len(entries) && n < batchRecords && laneOf(newest-entries[n].ns) == late {
			n++
		}
		if err := w.putBlock(lane, entries[:n], cutoff); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// putBlock writes the entries, which are in order, as one block, together with
// the blocks of the same class if they are enough for the next one.
func (w *writer) putBlock(lane int, entries []entry, cutoff int64) error {
	for class := classOf(len(entries)); class < classes; class = classOf(len(entries)) {
		small, records, err := w.ofClass(lane, class)
		if err != nil {
			return err
		}
		if len(small) == 0 || classOf(records+len(entries)) == class {
			break
		}
		w.merged = append(w.merged[:0], entries...) // entries may be its beginning
		for _, b := range small {
			if err := w.takeApart(b, cutoff); err != nil {
				return err
			}
		}
		sortEntries(w.merged)
		entries = w.merged
	}
	return w.write(lane, entries)
}

// A blockRow is what the writer needs to know of a block.
type blockRow struct {
	id      int64
	lane    int
	records int
}

// ofClass returns the blocks of a class, the last first, and the number of
// their records.
func (w *writer) ofClass(lane, class int) (small []blockRow, records int, err error) {
	small, err = w.blockRows(w.class, lane, class)
	for i := range small {
		small[i].lane = lane
		records += small[i].records
	}
	return small, records, err
}

// blockRows returns the IDs and numbers of records that a query finds.
func (w *writer) blockRows(query *sql.Stmt, args ...any) (found []blockRow, err error) {
	rows, err := query.QueryContext(background, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var b blockRow
		if err := rows.Scan(&b.id, &b.records); err != nil {
			return nil, err
		}
		found = append(found, b)
	}
	return found, rows.Err()
}

// takeApart moves the records of a block to w.merged, but for those before
// cutoff, and removes the block. A damaged one it marks and leaves as it is.
func (w *writer) takeApart(row blockRow, cutoff int64) error {
	b, damaged, err := w.s.load(background, w.frames, row.id, row.records)
	if err != nil {
		return err
	}
	if damaged {
		_, err := w.markDamaged.ExecContext(background, row.id)
		return err
	}
	for i := range b.len() {
		rec := b.at(i)
		if ns := rec.UnixNano(); ns >= cutoff {
			w.merged = append(w.merged, entry{ns, rec})
		}
	}
	return w.removeBlock(row.id)
}

// removeBlock deletes a block.
func (w *writer) removeBlock(id int64) error {
	var records, bytes, lane int64
	if err := w.remove.QueryRowContext(background, id).Scan(&records, &bytes, &lane); err != nil {
		return err
	}
	w.bytes.added[lane/nodeLanes] -= bytes
	w.delta.Blocks--
	w.delta.Records -= records
	w.delta.Bytes -= bytes
	if _, err := w.removeFrames.ExecContext(background, id); err != nil {
		return err
	}
	_, err := w.removeColumns.ExecContext(background, id)
	return err
}

// write adds a block of the entries, which are in order.
func (w *writer) write(lane int, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	class := classOf(len(entries))
	newest, oldest := entries[0].ns, entries[len(entries)-1].ns
	var c counts
	requests := int64(0)
	w.terms.reset(len(entries))
	w.tallies.reset(len(entries))
	for i := range entries {
		rec := entries[i].rec
		c.add(rec)
		requests += rec.Requests()
		if key := w.terms.addRecord(rec); key >= 0 && class == classes {
			w.tallies.add(key, rec)
		}
	}
	w.bloom = appendBloom(w.bloom[:0], w.terms.list, newest)
	w.data, w.raw = appendData(w.data[:0], w.raw, entries)
	res, err := w.insert.ExecContext(background, lane, class, len(entries),
		newest, oldest, c.served, c.blocked, requests, w.columns.kindsOf(entries), len(w.data), w.bloom)
	if err != nil {
		return err
	}
	id, err := res.LastInsertId()
	if err != nil {
		return err
	}
	if _, err := w.insertFrames.ExecContext(background, id, w.data); err != nil {
		return err
	}
	if class == classes {
		w.tallyBlob = w.tallies.appendTo(w.tallyBlob[:0], w.terms.list, newest)
		insert := func(column int, b []byte) error {
			_, err := w.insertColumn.ExecContext(background, columnID(id, column), b)
			return err
		}
		if err := errors.Join(insert(tallyColumn, w.tallyBlob), w.columns.each(entries, newest, insert)); err != nil {
			return err
		}
	}
	w.delta.Blocks++
	w.delta.Records += int64(len(entries))
	w.delta.Bytes += int64(len(w.data))
	w.bytes.added[int64(lane/nodeLanes)] += int64(len(w.data))
	if t := time.Unix(0, oldest).UTC(); w.delta.Oldest.IsZero() || t.Before(w.delta.Oldest) {
		w.delta.Oldest = t
	}
	return nil
}

// sortEntries sorts newest first. Entries come nearly sorted: a request that
// took a little longer is a few places away from where it belongs, and blocks
// follow one another. Moving those few costs less than a sort that does not
// know it, as long as the way is short.
func sortEntries(entries []entry) {
	steps := 16 * len(entries)
	for i := 1; i < len(entries); i++ {
		e := entries[i]
		j := i
		for ; j > 0 && newestFirst(entries[j-1], e) > 0; j-- {
			entries[j] = entries[j-1]
		}
		entries[j] = e
		if steps -= i - j; steps < 0 {
			slices.SortFunc(entries, newestFirst)
			return
		}
	}
}
