// SPDX-License-Identifier: Apache-2.0

// Package records keeps JSON records in buckets of a bbolt database.
package records

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Buckets creates the buckets that do not exist yet.
func Buckets(db *bolt.DB, names ...string) error {
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range names {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return fmt.Errorf("cannot create the bucket %s: %w", name, err)
			}
		}
		return nil
	})
}

// Put stores v under key.
func Put(tx *bolt.Tx, bucket, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode the record %s/%s: %w", bucket, key, err)
	}
	if err := tx.Bucket([]byte(bucket)).Put([]byte(key), data); err != nil {
		return fmt.Errorf("cannot write the record %s/%s: %w", bucket, key, err)
	}
	return nil
}

// Get decodes the record of key into v; found is false when there is none.
func Get(tx *bolt.Tx, bucket, key string, v any) (found bool, err error) {
	data := tx.Bucket([]byte(bucket)).Get([]byte(key))
	if data == nil {
		return false, nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("cannot read the record %s/%s: %w", bucket, key, err)
	}
	return true, nil
}

// Delete removes the record of key; that there is none is no error.
func Delete(tx *bolt.Tx, bucket, key string) error {
	if err := tx.Bucket([]byte(bucket)).Delete([]byte(key)); err != nil {
		return fmt.Errorf("cannot delete the record %s/%s: %w", bucket, key, err)
	}
	return nil
}

// Each decodes every record of a bucket, in the order of their keys, and hands
// it to do. do must not change the bucket.
func Each[T any](tx *bolt.Tx, bucket string, do func(key string, v T) error) error {
	return tx.Bucket([]byte(bucket)).ForEach(func(k, data []byte) error {
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("cannot read the record %s/%s: %w", bucket, k, err)
		}
		return do(string(k), v)
	})
}
