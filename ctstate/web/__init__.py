"""Facts -> HTML: what a report and the live page look like; knows no ledger and no network.

Templates escape whatever they are given: names of sites are what people and cameras wrote.
"""
