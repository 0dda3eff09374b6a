// Package filelock keeps a second process away from files that belong to one.
//
// Open opens a file and locks it, or returns the error locked at once where
// somebody else has it. Closing the file gives the lock back, and so does the
// end of the process, however it comes.
package filelock
