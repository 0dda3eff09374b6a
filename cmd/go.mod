module github.com/ipallow/ipallow/cmd

go 1.26

require github.com/ipallow/ipallow v0.1.0
