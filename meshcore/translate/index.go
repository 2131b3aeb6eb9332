package translate

type index struct{}
