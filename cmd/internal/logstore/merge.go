package logstore

import (
	"slices"
	"time"
)

const (
	// mergeBlocks small blocks, or fewer that together are of the next class, become one.
	mergeBlocks = 16

	// blockRecords is where merging ends. A block has fewer than twice as many.
	blockRecords = 4096

	// classes are the sizes in which a block is still merged: fewer than 16,
	// 256, and 4096 records.
	classes = 3
)

// classOf returns the class of a block of n records.
func classOf(n int) int {
	class := 0
	for limit := mergeBlocks; class < classes && n >= limit; limit *= mergeBlocks {
		class++
	}
	return class
}

// laneOf returns the lane of a record that is older than the newest of its
// batch by this time. The time of a record is when its request arrived, and
// it comes when it was answered: an hour later, when it was a long one. In a
// block with others it would make the block cover that hour, and a query for any
// moment of the hour would have to read all such blocks. So those that come a
// minute late are merged among themselves, and so are those that come 16 minutes,
// 4 hours, 3 days late.
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
		lane := laneOf(newest - entries[0].ns)
		n := 1
		for n < len(entries) && n < blockRecords && laneOf(newest-entries[n].ns) == lane {
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
		if len(small) == 0 || len(small)+1 < mergeBlocks && classOf(records+len(entries)) == class {
			break
		}
		w.merged = append(w.merged[:0], entries...)
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
	records int
}

// ofClass returns the blocks of a class, the last first, and the number of
// their records.
func (w *writer) ofClass(lane, class int) (small []blockRow, records int, err error) {
	rows, err := w.class.QueryContext(background, lane, class)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var b blockRow
		if err := rows.Scan(&b.id, &b.records); err != nil {
			return nil, 0, err
		}
		small = append(small, b)
		records += b.records
	}
	return small, records, rows.Err()
}

// takeApart moves the records of a block to w.merged, but for those before
// cutoff, and removes the block. A damaged one it marks and leaves as it is.
func (w *writer) takeApart(row blockRow, cutoff int64) error {
	b, damaged, err := w.s.load(background, w.data, row.id, row.records)
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
	var records, bytes int64
	if err := w.remove.QueryRowContext(background, id).Scan(&records, &bytes); err != nil {
		return err
	}
	w.delta.Blocks--
	w.delta.Records -= records
	w.delta.Bytes -= bytes
	_, err := w.removeData.ExecContext(background, id)
	return err
}

// write adds a block of the entries, which are in order.
func (w *writer) write(lane int, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	var c counts
	w.terms.reset(len(entries))
	for i := range entries {
		c.add(entries[i].rec)
		w.terms.addRecord(entries[i].rec)
	}
	w.bloom = appendBloom(w.bloom[:0], w.terms.list)
	w.blob, w.raw = appendData(w.blob[:0], w.raw, entries)
	res, err := w.insert.ExecContext(background, lane, classOf(len(entries)), len(entries),
		entries[0].ns, entries[len(entries)-1].ns, c.served, c.blocked, len(w.blob), w.bloom)
	if err != nil {
		return err
	}
	id, err := res.LastInsertId()
	if err != nil {
		return err
	}
	if _, err := w.insertData.ExecContext(background, id, w.blob); err != nil {
		return err
	}
	w.delta.Blocks++
	w.delta.Records += int64(len(entries))
	w.delta.Bytes += int64(len(w.blob))
	if oldest := time.Unix(0, entries[len(entries)-1].ns).UTC(); w.delta.Oldest.IsZero() || oldest.Before(w.delta.Oldest) {
		w.delta.Oldest = oldest
	}
	return nil
}

// sortEntries sorts newest first.
func sortEntries(entries []entry) { slices.SortFunc(entries, newestFirst) }
