"""The contest's form: submissions, and its score in four parts."""
