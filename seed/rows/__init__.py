"""The data set as rows of each service's tables. One module a schema; none knows another."""
