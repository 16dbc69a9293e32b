"""The product Webhooks: subscriptions, hints about changes of a church, and their delivery."""
