package logstore

// The columns of a block, each a row of the table columns.
const (
	tallyColumn = 0

	// columnsPerBlock is the distance between the first columns of two blocks.
	columnsPerBlock = 8
)

// columnID returns the ID of the row of a column.
func columnID(block int64, column int) int64 { return columnsPerBlock*block + int64(column) }
