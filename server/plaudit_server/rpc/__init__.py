"""Around every call: what a method declares, admission, permission, quotas, audit, errors; knows no resource."""
