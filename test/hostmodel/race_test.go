//go:build race

package hostmodel_test

// raceDetector says that the tests run under the race detector, which is for locks and not for numbers.
const raceDetector = true
