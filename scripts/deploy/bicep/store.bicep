// The store (PostgreSQL) and the key vault with the two secrets that the endpoint itself has.
param name string
param location string
param identityPrincipalId string

@secure()
param serviceSecret string

@secure()
param storePassword string

var readSecrets = '4633458b-17de-408a-b874-0445c86b69e6' // Key Vault Secrets User
var administrator = 'connector'

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: take('${name}-${uniqueString(resourceGroup().id)}', 24)
  location: location
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
  }
}

resource mayRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identityPrincipalId, readSecrets)
  scope: vault
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', readSecrets)
  }
}

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' = {
  name: '${name}-${uniqueString(resourceGroup().id)}'
  location: location
  sku: {
    name: 'Standard_B1ms'
    tier: 'Burstable'
  }
  properties: {
    version: '16'
    administratorLogin: administrator
    administratorLoginPassword: empty(storePassword) ? null : storePassword // null keeps what is set
    storage: {
      storageSizeGB: 32
    }
    backup: {
      backupRetentionDays: 14
      geoRedundantBackup: 'Disabled'
    }
  }
}

resource database 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2024-08-01' = {
  parent: server
  name: 'connector'
}

resource fromAzure 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2024-08-01' = {
  parent: server
  name: 'AllowAzureServices'
  properties: {
    startIpAddress: '0.0.0.0'
    endIpAddress: '0.0.0.0'
  }
}

// A deployment without the two parameters keeps both secrets as they are.
resource storeAddress 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = if (!empty(storePassword)) {
  parent: vault
  name: 'store'
  properties: {
    value: 'postgresql://${administrator}:${uriComponent(storePassword)}@${server.properties.fullyQualifiedDomainName}/connector?sslmode=require'
  }
  dependsOn: [database]
}

resource sealing 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = if (!empty(serviceSecret)) {
  parent: vault
  name: 'service'
  properties: {
    value: serviceSecret
  }
}

output storeSecretUri string = '${vault.properties.vaultUri}secrets/store'
output serviceSecretUri string = '${vault.properties.vaultUri}secrets/service'
