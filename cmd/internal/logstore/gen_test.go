package logstore

import "github.com/ipallow/ipallow/cmd/internal/logtraffic"

// begin is when the records of the tests begin, and month how long they go on.
var begin = logtraffic.Begin

const month = logtraffic.Month
